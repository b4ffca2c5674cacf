-- points.shard.members
WITH known AS MATERIALIZED (
    SELECT asked.index, m.member_no
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (program, member, index)
    CROSS JOIN LATERAL (
        SELECT member_no FROM members
        WHERE shard = $1 AND program = asked.program AND member = asked.member LIMIT 1
    ) m
)
SELECT
    s.position, s.chain, s.members, s.fence, s.written_at,
    (
        SELECT array_agg(ROW(index, member_no)::member_number) FROM known
    ) AS "numbers: Vec<MemberNumber>",
    (
        SELECT array_agg(ROW(w.member_no, w.currency, w.pending, w.available, w.held, w.debt,
                             w.sequence, w.last_position, w.last_at, w.next_due,
                             w.inactive_at, w.debt_kinds, w.debt_brands,
                             w.debt_points, w.earned, w.redeemed, w.inactivity)::wallet_row)
        FROM known CROSS JOIN LATERAL (
            SELECT * FROM wallets WHERE shard = $1 AND member_no = known.member_no LIMIT 100
        ) w
    ) AS "wallets: Vec<WalletRow>",
    (
        SELECT array_agg(ROW(c.member_no, c.body)::counters_row)
        FROM known CROSS JOIN LATERAL (
            SELECT member_no, body FROM counters
            WHERE shard = $1 AND member_no = known.member_no LIMIT 1
        ) c
    ) AS "counters: Vec<CountersRow>",
    (
        SELECT array_agg(ROW(t.request_key, t.body, t.chain)::seen_row)
        FROM unnest($4::uuid[]) AS asked (key)
        CROSS JOIN LATERAL (
            SELECT request_key, body, chain FROM transactions
            WHERE shard = $1 AND request_key = asked.key LIMIT 1
        ) t
    ) AS "seen: Vec<SeenRow>",
    (
        SELECT array_agg(ROW(v.program, v.version, v.position, v.begun_at, v.backfilled)::version_row)
        FROM unnest($5::text[]) AS asked (program)
        CROSS JOIN LATERAL (
            SELECT program, version, position, begun_at, backfilled FROM begun_versions
            WHERE shard = $1 AND program = asked.program LIMIT 1
        ) v
    ) AS "versions: Vec<VersionRow>",
    (
        SELECT array_agg(ROW(e.program, e.through)::period_ends_row)
        FROM unnest($5::text[]) AS asked (program)
        CROSS JOIN LATERAL (
            SELECT program, through FROM period_ends
            WHERE shard = $1 AND program = asked.program LIMIT 1
        ) e
    ) AS "ends: Vec<PeriodEndsRow>"
FROM shards s
WHERE s.shard = $1
