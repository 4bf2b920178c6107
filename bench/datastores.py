"""Every datastore's plain increment, in the order of the tables."""

from __future__ import annotations

from typing import Final

from bench import dynamodb, etcd, momento, mongodb, mysql, postgresql, redis

PLAIN: Final = (
    redis.PLAIN,
    dynamodb.PLAIN,
    mongodb.PLAIN,
    mysql.MARIADB,
    mysql.TIDB,
    postgresql.PLAIN,
    momento.PLAIN,
    etcd.PLAIN,
)
