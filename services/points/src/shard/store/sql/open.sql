-- points.shard.open
WITH RECURSIVE
asked AS MATERIALIZED (
    SELECT * FROM unnest($2::asked_wallet[])
),
-- From lot to lot in the order of spending, until there are points enough.
spendable AS (
    SELECT asked.points AS wanted, asked.lots_max, l.remaining AS covered, 1 AS number, l.*
    FROM asked CROSS JOIN LATERAL (
        SELECT * FROM lots
        WHERE shard = $1 AND member_no = asked.member_no AND currency = asked.currency
          AND spendable
        ORDER BY expires_at, lot LIMIT 1
    ) l
    UNION ALL
    SELECT before.wanted, before.lots_max, before.covered + l.remaining, before.number + 1, l.*
    FROM spendable AS before CROSS JOIN LATERAL (
        SELECT * FROM lots
        WHERE shard = $1 AND member_no = before.member_no AND currency = before.currency
          AND spendable AND (expires_at, lot) > (before.expires_at, before.lot)
        ORDER BY expires_at, lot LIMIT 1
    ) l
    WHERE before.covered < before.wanted AND before.number < before.lots_max
),
open_holds AS MATERIALIZED (
    SELECT asked.due, h.*
    FROM asked CROSS JOIN LATERAL (
        SELECT * FROM holds
        WHERE shard = $1 AND member_no = asked.member_no AND currency = asked.currency AND open
        LIMIT 1000
    ) h
    WHERE asked.holds OR asked.due
),
named_holds AS MATERIALIZED (
    SELECT h.*
    FROM unnest($3::bigint[], $4::bigint[]) AS asked (member_no, hold)
    CROSS JOIN LATERAL (
        SELECT * FROM holds
        WHERE shard = $1 AND hold = asked.hold AND member_no = asked.member_no LIMIT 1
    ) h
),
others AS (
    SELECT l.*
    FROM asked CROSS JOIN LATERAL (
        SELECT * FROM lots
        WHERE shard = $1 AND member_no = asked.member_no AND currency = asked.currency
          AND waiting
        ORDER BY least(activates_at, expires_at), activates_at, lot LIMIT $5
    ) l
    WHERE asked.due
    UNION ALL
    SELECT l.*
    FROM (
        SELECT unnest(lots) AS lot FROM open_holds WHERE due
        UNION
        SELECT unnest(lots) FROM named_holds
    ) of_hold
    CROSS JOIN LATERAL (
        SELECT * FROM lots WHERE shard = $1 AND lot = of_hold.lot LIMIT 1
    ) l
)
SELECT
    s.position,
    (
        SELECT array_agg(ROW(member_no, lot, currency, brand, amount, remaining, held, expired,
                             earned_at, activates_at, expires_at, unit_value_micros,
                             program_version, origin, pending, spendable, activates_on)::lot_row)
        FROM spendable
    ) AS "spendable: Vec<LotRow>",
    (
        SELECT array_agg(ROW(member_no, lot, currency, brand, amount, remaining, held, expired,
                             earned_at, activates_at, expires_at, unit_value_micros,
                             program_version, origin, pending, spendable, activates_on)::lot_row)
        FROM others
    ) AS "others: Vec<LotRow>",
    (
        SELECT array_agg(ROW(hold, member_no, currency, brand, expires_at, lots, points,
                             open)::hold_row)
        FROM (
            SELECT hold, member_no, currency, brand, expires_at, lots, points, open
            FROM open_holds
            UNION
            SELECT hold, member_no, currency, brand, expires_at, lots, points, open
            FROM named_holds
        ) h
    ) AS "holds: Vec<HoldRow>"
FROM shards s
WHERE s.shard = $1
