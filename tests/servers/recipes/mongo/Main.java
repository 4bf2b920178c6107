import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import org.h2.mvstore.MVStore;

/**
 * A server of MongoDB's protocol on 127.0.0.1: `Main PORT FILE KEEPS`, where KEEPS is "each" or "second".
 *
 * With "second" what was acknowledged reaches the file about once a second, as the library does by itself; with
 * "each" every message is in the file before it is answered, and so survives the end of the process.
 */
public class Main {
    public static void main(String[] arguments) {
        MVStore file = new MVStore.Builder().fileName(arguments[1]).open();
        H2Backend backend = arguments[2].equals("each") ? new Keeping(file) : new H2Backend(file);
        backend.version(new Version());
        MongoServer server = new MongoServer(backend);
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    }

    private static class Keeping extends H2Backend {
        Keeping(MVStore file) {
            super(file);
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            Document answer = super.handleMessage(message);
            commit();
            return answer;
        }
    }

    /** Drivers ask for wire version 9 or later; 13 is that of MongoDB 5.0. */
    private static class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(5, 0, 0);
        }

        @Override
        public int getWireVersion() {
            return 13;
        }
    }
}
