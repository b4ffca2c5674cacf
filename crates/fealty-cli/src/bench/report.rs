//! The table, the chart and the ratios.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use fealty_stack::Postgres;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Sizing, measured::Measured};

/// A ratio within the run: its name, what it says, what it should be at least.
/// Ratios are in thousandths: no floating point near a figure.
const BARS: [(&str, &str, i64); 14] = [
    ("accrue_512", "accrue, 512 callers / TPC-B best", 4_200),
    ("accrue_64", "accrue, 64 callers / TPC-B best", 2_300),
    ("accrue_1", "accrue, 1 caller / TPC-B, 1 client", 700),
    (
        "one_member_512",
        "one member, 512 callers / TPC-B best",
        3_000,
    ),
    ("redeem_512", "redeem, 512 callers / TPC-B best", 3_000),
    (
        "purchase_512",
        "purchase with five rules, 512 callers / TPC-B best",
        3_200,
    ),
    (
        "purchase_lines_512",
        "purchase of five lines under 200 rules, two counters, a cap and a budget / TPC-B best",
        2_500,
    ),
    (
        "purchase_budget_512",
        "purchase under a budget / without",
        850,
    ),
    (
        "purchase_dry_512",
        "purchase under a budget of which nobody can use the rest / without",
        850,
    ),
    ("batch_accrue", "BatchAccrue / TPC-B best", 6_000),
    (
        "import_purchases",
        "purchases imported from a file / TPC-B best",
        1_300,
    ),
    (
        "balance_cached_64",
        "cached balance, 64 callers / empty call",
        700,
    ),
    (
        "large_ledger",
        "accrue on the large ledger / on the small one",
        850,
    ),
    ("token", "accrue, 512 callers, with a token / without", 950),
];

/// Calls while much is swept, and afterwards: the ratio, what they are, and both measures.
type Swept = (&'static str, &'static str, (&'static str, &'static str));
const SWEPT: [Swept; 2] = [
    (
        "year_end_p99",
        "accruals, 512 callers, while a year's end is swept",
        ("year_end_accrue_512", "year_over_accrue_512"),
    ),
    (
        "month_end_p99",
        "purchases, 512 callers, while a month's end is written",
        ("month_end_purchase_512", "month_over_purchase_512"),
    ),
];
/// How many times longer the slowest may take meanwhile, in thousandths.
const SWEPT_MAX: i64 = 2_000;

/// How long a measure waits for Postgres to come to rest, and how often it
/// looks.
const SETTLE_MAX: Duration = Duration::from_secs(15);
const SETTLE_POLL: Duration = Duration::from_millis(100);

/// Memory of the points service that is allowed, in MiB.
const MEMORY_MAX_MB: u64 = 300;

/// Bytes of the database and of the write-ahead log, and accruals in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    database: u64,
    wal: u64,
    transactions: u64,
}

/// What a run measured.
pub(super) struct Report {
    psql: Psql,
    machine: String,
    settings: BTreeMap<String, String>,
    seconds: u64,
    measured: Vec<Measured>,
    memory_mb: BTreeMap<&'static str, u64>,
    /// By what was written: bytes on disk, and of the write-ahead log.
    disk: BTreeMap<&'static str, (u64, u64)>,
    verified_per_second: Option<u64>,
}

struct Psql {
    program: std::path::PathBuf,
    url: String,
}

impl Psql {
    fn ask(&self, database: &str, query: &str) -> anyhow::Result<String> {
        let url = self.url.replace("/postgres?", &format!("/{database}?"));
        let output = Command::new(&self.program)
            .args(["-XAtc", query, &url])
            .output()
            .context("running psql")?;
        ensure!(output.status.success(), "psql failed: {query}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| {
            line.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok())
        .unwrap_or_default()
        / 1_048_576;
    format!("{cores} cores ({model}), {gib} GiB")
}

impl Report {
    pub(super) fn new(
        postgres: &Postgres,
        measure: Duration,
        sizing: Sizing,
    ) -> anyhow::Result<Self> {
        let psql = Psql {
            program: postgres.bin().join("psql"),
            url: postgres.url("postgres"),
        };
        let mut settings = BTreeMap::new();
        for name in [
            "server_version",
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "shared_buffers",
            "min_wal_size",
            "max_wal_size",
            "wal_compression",
            "checkpoint_timeout",
        ] {
            settings.insert(
                name.to_owned(),
                psql.ask("postgres", &format!("SHOW {name}"))?,
            );
        }
        settings.insert("ledger.shards".to_owned(), sizing.shards.to_string());
        settings.insert(
            "ledger.batches_in_flight".to_owned(),
            sizing.batches_in_flight.to_string(),
        );
        let machine = machine();
        eprintln!("{machine}; {settings:?}");
        Ok(Self {
            psql,
            machine,
            settings,
            seconds: measure.as_secs(),
            measured: Vec::new(),
            memory_mb: BTreeMap::new(),
            disk: BTreeMap::new(),
            verified_per_second: None,
        })
    }

    pub(super) fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    pub(super) fn add_all(&mut self, measured: Vec<Measured>) {
        self.measured.extend(measured);
    }

    pub(super) fn verified(&mut self, per_second: u64) {
        eprintln!("verified at {per_second} transactions a second");
        self.verified_per_second = Some(per_second);
    }

    /// Notes what the processes have taken at the most: Postgres's and Redis's
    /// is what they have now, shared pages counted once.
    pub(super) fn memory(&mut self, points_mb: u64) {
        self.memory_mb.insert("points", points_mb);
        let mut shared: BTreeMap<&'static str, u64> = BTreeMap::new();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let name = match name.trim() {
                "postgres" => "postgres",
                "redis-server" => "redis",
                _ => continue,
            };
            let rollup = std::fs::read_to_string(process.path().join("smaps_rollup"));
            let kib = rollup.unwrap_or_default();
            let kib = kib
                .lines()
                .find_map(|line| line.strip_prefix("Pss:"))
                .and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
            *shared.entry(name).or_default() += kib.unwrap_or_default();
        }
        for (name, kib) in shared {
            self.memory_mb.insert(name, kib / 1_024);
        }
    }

    /// Waits until Postgres has done the work in the background that the
    /// measure before has left it, or for a while.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLE_MAX;
        let query = "SELECT count(*) FROM pg_stat_activity \
                     WHERE backend_type = 'autovacuum worker'";
        while self.psql.ask("postgres", query)? != "0" && Instant::now() < deadline {
            tokio::time::sleep(SETTLE_POLL).await;
        }
        Ok(())
    }

    /// How many wallets of a database are due.
    pub(super) fn due(&self, database: &str) -> anyhow::Result<u64> {
        let due = "SELECT count(*) FROM wallets WHERE next_due <= now()";
        Ok(self.psql.ask(database, due)?.parse()?)
    }

    /// Whether the bench's month is written for all members.
    pub(super) fn month_is_over(&self) -> anyhow::Result<bool> {
        let missing = "SELECT count(*) FROM begun_versions b
            LEFT JOIN period_ends e USING (program, shard)
            WHERE b.program = 'month'
              AND coalesce(e.through < date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', true)";
        Ok(self.psql.ask("month_end", missing)? == "0")
    }

    pub(super) fn disk(&self, database: &str) -> anyhow::Result<Disk> {
        let number =
            |query: &str| -> anyhow::Result<u64> { Ok(self.psql.ask(database, query)?.parse()?) };
        Ok(Disk {
            database: number("SELECT pg_database_size(current_database())")?,
            wal: number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")?,
            transactions: number("SELECT coalesce(sum(position), 0) FROM shards")?,
        })
    }

    pub(super) fn disk_used(&mut self, of: &'static str, before: Disk, after: Disk) {
        let transactions = (after.transactions - before.transactions).max(1);
        let each = |before: u64, after: u64| after.saturating_sub(before) / transactions;
        let bytes = (
            each(before.database, after.database),
            each(before.wal, after.wal),
        );
        self.disk.insert(of, bytes);
    }

    /// The mean of a measure's runs.
    fn per_second(&self, name: &str) -> Option<i64> {
        let runs: Vec<u64> = self
            .measured
            .iter()
            .filter(|measured| measured.name == name)
            .map(|measured| measured.per_second)
            .collect();
        let count = u64::try_from(runs.len()).ok().filter(|count| *count > 0)?;
        i64::try_from(runs.iter().sum::<u64>() / count).ok()
    }

    /// How many times longer the slowest calls take while much is swept, in thousandths.
    fn swept(&self, (during, after): (&str, &str)) -> Option<i64> {
        let p99 = |name: &str| {
            let of = self.measured.iter().find(|measured| measured.name == name);
            i64::try_from(of?.p99_us).ok()
        };
        Some(p99(during)? * 1_000 / p99(after)?.max(1))
    }

    /// A ratio in thousandths.
    fn ratio(&self, name: &str) -> Option<i64> {
        let best = || self.per_second("tpcb_8").max(self.per_second("tpcb_32"));
        let (over, under) = match name {
            "accrue_1" => (self.per_second("accrue_1"), self.per_second("tpcb_1")),
            "balance_cached_64" => (self.per_second(name), self.per_second("empty_64")),
            "large_ledger" => (
                self.per_second("large_accrue_512"),
                self.per_second("small_accrue_512"),
            ),
            "purchase_budget_512" | "purchase_dry_512" => {
                (self.per_second(name), self.per_second("purchase_rule_512"))
            }
            "token" => (
                self.per_second("with_token"),
                self.per_second("without_token"),
            ),
            name => (self.per_second(name), best()),
        };
        Some(over? * 1_000 / under?.max(1))
    }

    pub(super) fn json(&self) -> Value {
        let mut ratios = serde_json::Map::new();
        for (name, ..) in BARS {
            if let Some(ratio) = self.ratio(name) {
                let text = format!("{}.{:03}", ratio / 1_000, ratio % 1_000);
                let number: serde_json::Number = text.parse().unwrap_or_else(|_| 0.into());
                ratios.insert(name.to_owned(), Value::Number(number));
            }
        }
        for (name, _, names) in SWEPT {
            if let Some(ratio) = self.swept(names) {
                let text = format!("{}.{:03}", ratio / 1_000, ratio % 1_000);
                let number: serde_json::Number = text.parse().unwrap_or_else(|_| 0.into());
                ratios.insert(name.to_owned(), Value::Number(number));
            }
        }
        if let Some(points) = self.memory_mb.get("points") {
            ratios.insert("points_rss_mb".to_owned(), json!(points));
        }
        json!({
            "machine": self.machine,
            "settings": self.settings,
            "seconds_each": self.seconds,
            "measures": self.measured,
            "memory_mb": self.memory_mb,
            "disk_bytes_per": self.disk.iter().map(|(of, disk)| (*of, disk.0)).collect::<BTreeMap<_, _>>(),
            "wal_bytes_per": self.disk.iter().map(|(of, disk)| (*of, disk.1)).collect::<BTreeMap<_, _>>(),
            "verified_per_second": self.verified_per_second,
            "ratios": ratios,
        })
    }

    pub(super) fn table(&self) -> String {
        let mut table = format!("{}\n\n", self.machine);
        let settings = self
            .settings
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        let settings: Vec<String> = settings.collect();
        let _ = writeln!(table, "Settings: {}\n", settings.join(", "));
        table.push_str("| measure | callers | a second | p50 ms | p99 ms | p99.9 ms |\n");
        table.push_str("|---|---:|---:|---:|---:|---:|\n");
        // What is no single call has no time.
        let millis = |micros: u64| match micros {
            0 => String::new(),
            micros => format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10),
        };
        for of in &self.measured {
            let refused = match of.refused {
                0 => String::new(),
                refused => format!(" ({refused} refused)"),
            };
            let _ = writeln!(
                table,
                "| {}{refused} | {} | {} | {} | {} | {} |",
                of.name,
                of.callers,
                of.per_second,
                millis(of.p50_us),
                millis(of.p99_us),
                millis(of.p999_us),
            );
        }
        let show = |ratio: i64| format!("{}.{:02}", ratio / 1_000, ratio % 1_000 / 10);
        table.push_str("\n| ratio | is | should be |\n|---|---:|---:|\n");
        for (name, what, bar) in BARS {
            if let Some(ratio) = self.ratio(name) {
                let _ = writeln!(table, "| {what} | {} | {} |", show(ratio), show(bar));
            }
        }
        for (_, what, names) in SWEPT {
            if let Some(ratio) = self.swept(names) {
                let _ = writeln!(
                    table,
                    "| p99 of {what} / afterwards | {} | at most {} |",
                    show(ratio),
                    show(SWEPT_MAX)
                );
            }
        }
        if let Some(points) = self.memory_mb.get("points") {
            let _ = writeln!(
                table,
                "| memory of the points service, MiB | {points} | below {MEMORY_MAX_MB} |"
            );
        }
        for (name, mb) in self.memory_mb.iter().filter(|(name, _)| **name != "points") {
            let _ = writeln!(table, "| memory of {name}, MiB | {mb} | |");
        }
        for (of, (disk, wal)) in &self.disk {
            let _ = writeln!(table, "| bytes on disk per {of} | {disk} | |");
            let _ = writeln!(table, "| bytes of write-ahead log per {of} | {wal} | |");
        }
        if let Some(per_second) = self.verified_per_second {
            let _ = writeln!(
                table,
                "| transactions verified a second | {per_second} | 100000 |"
            );
        }
        table
    }

    /// A bar for each measure, the walls in another colour.
    fn chart(&self) -> String {
        const ROW: usize = 22;
        const LEFT: u64 = 190;
        const WIDTH: u64 = 560;
        let highest = self.measured.iter().map(|of| of.per_second).max();
        let highest = highest.unwrap_or(1).max(1);
        let height = self.measured.len() * ROW + 50;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"10\" y=\"20\" font-size=\"14\">Answers a second; {}</text>\n",
            self.machine.replace('&', "&amp;").replace('<', "&lt;"),
        );
        for (row, of) in self.measured.iter().enumerate() {
            let y = 40 + row * ROW;
            let width = (of.per_second * WIDTH / highest).max(1);
            let is_wall = ["tpcb", "empty", "bare"]
                .iter()
                .any(|wall| of.name.starts_with(wall));
            let colour = if is_wall { "#9aa5b1" } else { "#2f6f4f" };
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"15\" fill=\"{colour}\"/>\n\
                 <text x=\"{}\" y=\"{}\">{}</text>\n",
                LEFT - 8,
                y + 12,
                of.name,
                LEFT + width + 6,
                y + 12,
                of.per_second,
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Writes the table, the chart and the figures.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::write(folder.join("table.md"), self.table())?;
        std::fs::write(folder.join("chart.svg"), self.chart())?;
        let json = serde_json::to_string_pretty(&self.json())?;
        std::fs::write(folder.join("figures.json"), json + "\n")?;
        Ok(())
    }
}
