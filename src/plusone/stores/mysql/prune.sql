UPDATE plusone_counters SET others = {pruned} WHERE counter = {counter} AND others = {seen}
