-- points.orders.claim
INSERT INTO orders (shard, order_key, member_shard, request_key, claim)
SELECT home.shard, asked.order_key, $2, asked.request_key, $4
FROM shards AS home, unnest($3::order_row[]) AS asked
WHERE home.shard = $1
-- One's own claim is claimed anew: nobody who has seen the one before can take
-- the order over then.
ON CONFLICT (order_key, shard) DO UPDATE SET claim = excluded.claim
    WHERE orders.member_shard = excluded.member_shard
      AND orders.request_key = excluded.request_key
RETURNING order_key
