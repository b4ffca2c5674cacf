-- points.lots.stretches
WITH stretches AS (
    SELECT currency, pending,
           CASE WHEN pending THEN activates_at END AS activates_at,
           CASE WHEN pending THEN activates_on END AS activates_on,
           CASE WHEN NOT pending THEN expires_at END AS expires_at,
           CASE WHEN pending OR expires_at < $4 THEN 'dated'
                WHEN expires_at < $6 THEN 'with activity'
                ELSE 'never'
           END AS class,
           sum(remaining)::bigint AS points
    FROM lots
    WHERE shard = $1 AND member_no = $2 AND (spendable OR waiting) AND lot <> ALL($3)
    GROUP BY 1, 2, 3, 4, 5, 6
),
numbered AS (
    SELECT *, row_number() OVER (
        PARTITION BY currency, pending, class ORDER BY activates_at, activates_on, expires_at
    ) > $5 AS rest
    FROM stretches
)
SELECT currency AS "currency!", pending AS "pending!",
       CASE WHEN NOT rest THEN activates_at END AS activates_at,
       CASE WHEN NOT rest THEN activates_on END AS activates_on,
       CASE WHEN NOT rest THEN expires_at END AS expires_at,
       sum(points)::bigint AS "points!", rest AS "rest!"
FROM numbered
GROUP BY 1, 2, 3, 4, 5, 7
