SET SESSION tidb_txn_mode = 'pessimistic';
