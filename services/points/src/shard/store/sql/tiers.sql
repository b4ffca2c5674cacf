-- points.shard.tiers
SELECT (
    SELECT array_agg(ROW(asked.index, t.tier)::tier_row)
    FROM unnest($2::text[], $3::text[], $4::timestamptz[]) WITH ORDINALITY
        AS asked (program, member, moment, index)
    CROSS JOIN LATERAL (
        SELECT tier FROM member_tiers
        WHERE shard = $1 AND program = asked.program AND member = asked.member
          AND effective_at <= asked.moment
        ORDER BY effective_at DESC LIMIT 1
    ) t
) AS "tiers: Vec<TierRow>"
FROM shards s
WHERE s.shard = $1
