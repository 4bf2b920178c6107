import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.AbstractUniqueIndex;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.h2.H2Database;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import java.util.Map;
import org.h2.mvstore.MVMap;
import org.h2.mvstore.MVStore;

/**
 * A server of MongoDB's protocol on 127.0.0.1: `Main PORT FILE KEEPS`, where KEEPS is "each" or "second".
 *
 * With "second" what was acknowledged reaches the file about once a second, as the library does by itself; with
 * "each" every message is in the file before it is answered, and so survives the end of the process.
 */
public class Main {
    /** Static, for the library opens what is in it from within its constructors. */
    private static MVStore file;

    public static void main(String[] arguments) {
        file = new MVStore.Builder().fileName(arguments[1]).cacheSize(64).open();
        H2Backend backend = new Backend(arguments[2].equals("each"));
        backend.version(new Version());
        MongoServer server = new MongoServer(backend);
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    }

    private static class Backend extends H2Backend {
        private final boolean keeps;

        Backend(boolean keeps) {
            super(file);
            this.keeps = keeps;
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            Document answer = super.handleMessage(message);
            if (keeps) {
                commit();
            }
            return answer;
        }

        @Override
        protected MongoDatabase openOrCreateDatabase(String name) {
            return new Database(name, getCursorRegistry());
        }
    }

    private static class Database extends H2Database {
        Database(String name, CursorRegistry cursors) {
            super(name, file, cursors);
        }

        @Override
        protected Index<Object> openOrCreateUniqueIndex(
                String collection, String name, List<IndexKey> keys, boolean sparse) {
            if (keys.size() == 1 && keys.get(0).getKey().equals("_id")) {
                return new ById(file.openMap(getFullCollectionNamespace(collection) + "._index_" + name), name, keys, sparse);
            }
            return super.openOrCreateUniqueIndex(collection, name, keys, sparse);
        }
    }

    /**
     * The index of _id, used whenever a query names one _id, as MongoDB does. The library's own is used only if the
     * query names nothing else: it would look at every document of the collection.
     */
    private static class ById extends AbstractUniqueIndex<Object> {
        private final MVMap<KeyValue, Object> positions;

        ById(MVMap<KeyValue, Object> positions, String name, List<IndexKey> keys, boolean sparse) {
            super(name, keys, sparse);
            this.positions = positions;
        }

        @Override
        public boolean canHandle(Document query) {
            return query.get("_id") instanceof String || super.canHandle(query);
        }

        @Override
        public Iterable<Object> getPositions(Document query) {
            return super.getPositions(new Document("_id", query.get("_id")));
        }

        @Override
        protected Object removeDocument(KeyValue key) {
            return positions.remove(key);
        }

        @Override
        protected boolean putKeyPosition(KeyValue key, Object position) {
            return positions.putIfAbsent(key, position) == null;
        }

        @Override
        protected Iterable<Map.Entry<KeyValue, Object>> getIterable() {
            return positions.entrySet();
        }

        @Override
        protected Object getPosition(KeyValue key) {
            return positions.get(key);
        }

        @Override
        public long getCount() {
            return positions.sizeAsLong();
        }

        @Override
        public long getDataSize() {
            return getCount();
        }

        @Override
        public void drop() {
            positions.clear();
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
