//! `fealty import`: a history into a programme.
//!
//! `csv` and `ndjson` read orders out of a file, `purchase` makes a request of each, `send` has
//! them recorded, and `refused` says of which rows nothing was.

mod csv;
mod ndjson;
mod purchase;
mod refused;
mod send;

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Read, Seek as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use fealty_client::{Channel, Deadline, call};
use fealty_program::{Orders, Program};
use fealty_proto::{
    points::v1::{ImportedPurchase, earning_service_client::EarningServiceClient},
    program::v1::GetProgramRequest,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::{
    purchase::{Past, Reading, TierOption},
    refused::Refused,
    send::Answer,
};
use crate::endpoints::{Clients, Endpoints};

/// Bring a history into a programme.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record the purchases of a file, each once, however often it is imported.
    ///
    /// A CSV file has a row for each line of a purchase, and these columns, in any order: `member`,
    /// `order`, `occurred_at`, `brand`, `amount`; and if there is more to say: `channel`, `store`,
    /// `terminal`, `tier`, `sku`, `category`, `quantity`, `tax`. Rows of one brand and order stand together
    /// and are the lines of one purchase. `amount` is the line's total in the programme's money,
    /// such as 12.50; `occurred_at` a time such as 2026-11-30T18:00:00Z, or in the programme's time
    /// zone 2026-11-30T18:00 or 2026-11-30. An NDJSON file has a purchase in each line, with the same
    /// names, and its lines in `lines`.
    ///
    /// Interrupted and started again, it goes on: what is there already is not recorded twice.
    /// Orders that are refused are listed in a file with their lines and the reasons.
    Purchases(Arguments),
}

/// Record the purchases of a file.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file.
    file: PathBuf,
    /// The programme's id.
    #[arg(long)]
    program: String,
    /// The version of the programme that must be in force. Without it, it is the one that is
    /// when the import begins; when another one comes into force meanwhile, the import ends.
    #[arg(long)]
    version: Option<i64>,
    /// The tier that counts for purchases of which the file does not say it.
    #[arg(long)]
    tier: Option<String>,
    /// For purchases of which the file does not say it, that tier counts which the service
    /// knows when it records them: what the same import brings about may not be known by then.
    #[arg(long, conflicts_with = "tier")]
    known_tier: bool,
    /// What the file is written in; if nothing is said, its name tells.
    #[arg(long)]
    format: Option<Format>,
    /// Where refused orders are listed, as CSV; FILE.refused.csv, if nothing is said.
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// Only read the file, and list what is wrong with it.
    #[arg(long)]
    dry_run: bool,
    /// Print the figures as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A row for each line of a purchase, with the names of the columns above.
    Csv,
    /// A JSON object for each purchase, each in a line of its own.
    Ndjson,
}

/// Orders that are read and not yet sent.
const READ_AHEAD: usize = 1_024;
const DEADLINE: Duration = Duration::from_secs(30);
/// What the request ids of imports are made in.
const NAMESPACE: Uuid = Uuid::from_u128(0x6e1f_8a3c_52d7_4f0b_9c44_b0a7_d1e6_23f5);

/// An order of the file.
#[derive(Debug)]
struct Order {
    /// The lines of the file in which its rows stand; one at the least.
    rows: Vec<u64>,
    brand: String,
    number: String,
    /// The purchase, or what is wrong with it.
    purchase: Result<Past, Vec<Fault>>,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    /// The line of the file.
    line: u64,
    /// Field and rule.
    message: String,
}

/// What came of a file.
#[derive(Debug, Default, serde::Serialize)]
struct Figures {
    /// Rows of the file.
    rows: u64,
    /// Orders of the file.
    orders: u64,
    /// Orders that were recorded now.
    recorded: u64,
    /// Orders that were there before.
    there_before: u64,
    /// Orders that were refused.
    refused: u64,
    /// Points that were given now, by currency.
    points: BTreeMap<String, i64>,
    /// How long it took.
    milliseconds: u64,
}

/// Runs the subcommand.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Purchases(arguments) = command;
    let clients = Clients::connect(&arguments.endpoints)?;
    let format = format_of(&arguments)?;
    let (version, program) = program(&clients, &arguments.program).await?;
    if let Some(wanted) = arguments.version.filter(|&wanted| wanted != version) {
        anyhow::bail!("version {version} of the programme is in force, not {wanted}");
    }
    let reading = Reading {
        program,
        in_rows: format == Format::Csv,
        tier: match &arguments.tier {
            Some(tier) => TierOption::Is(tier.clone()),
            None if arguments.known_tier => TierOption::Known,
            None => TierOption::Unset,
        },
    };
    let file = File::open(&arguments.file);
    let file = file.with_context(|| format!("cannot read {}", arguments.file.display()))?;
    let metadata = file.metadata()?;
    // It is read twice.
    anyhow::ensure!(
        metadata.is_file(),
        "{} must be a file, no pipe and no folder",
        arguments.file.display()
    );
    let bar = bar(metadata.len())?;
    let at = refused_file(&arguments);
    anyhow::ensure!(
        !at.exists() || at.canonicalize()? != arguments.file.canonicalize()?,
        "--refused names the file that is imported"
    );
    let mut import = Import {
        refused: Refused::create(&at)?,
        figures: Figures::default(),
        bar: bar.clone(),
    };
    let begun = Instant::now();
    let client = (!arguments.dry_run).then(|| clients.earning());
    let done = tokio::select! {
        done = import.run(client, Some(version), (file, format, reading)) => done,
        () = fealty_server::shutdown_signal() => Err(anyhow::anyhow!("interrupted")),
    };
    bar.finish_and_clear();
    let Import {
        refused,
        mut figures,
        ..
    } = import;
    let has_refused = refused.finish()?;
    let done = done.with_context(|| {
        let orders = figures.recorded + figures.there_before;
        format!("{orders} orders are recorded; started again, the command goes on from there")
    });
    figures.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    done?;
    tell(&arguments, &figures)?;
    anyhow::ensure!(
        !has_refused,
        "{} of {} orders were refused; {} says which, and why",
        figures.refused,
        figures.orders,
        at.display()
    );
    Ok(())
}

/// Imports a CSV file whose purchases are right and made by members of one tier; answers with
/// how many were recorded now.
pub(crate) async fn csv_file(
    client: EarningServiceClient<Channel>,
    program: Arc<Program>,
    (path, tier): (&Path, &str),
) -> anyhow::Result<u64> {
    let tier = TierOption::Is(tier.to_owned());
    let reading = Reading {
        program,
        in_rows: true,
        tier,
    };
    let mut import = Import {
        refused: Refused::create(&path.with_extension("refused"))?,
        figures: Figures::default(),
        bar: ProgressBar::hidden(),
    };
    let source = (File::open(path)?, Format::Csv, reading);
    import.run(Some(client), None, source).await?;
    let Figures {
        recorded, refused, ..
    } = import.figures;
    anyhow::ensure!(refused == 0, "{refused} orders were refused");
    Ok(recorded)
}

/// The programme's newest version, and what it says.
async fn program(clients: &Clients, id: &str) -> anyhow::Result<(i64, Arc<Program>)> {
    let [(_, client), ..] = clients.programs();
    let request = GetProgramRequest {
        program: id.to_owned(),
        version: None,
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.get_program(request).await }
    });
    let read = read.await;
    let read = read.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    let version = read.version.context("the service says no version")?;
    let read = Program::parse(&read.source);
    let read = read.context("the programme in force cannot be read by this version")?;
    Ok((version.version, read.program))
}

fn format_of(arguments: &Arguments) -> anyhow::Result<Format> {
    let extension = arguments.file.extension();
    let extension = extension.map(OsStr::to_ascii_lowercase);
    let by_name = match extension.as_deref().and_then(|text| text.to_str()) {
        Some("csv") => Some(Format::Csv),
        Some("ndjson" | "jsonl") => Some(Format::Ndjson),
        _ => None,
    };
    let format = arguments.format.or(by_name);
    format.context("say what the file is written in: --format csv or --format ndjson")
}

fn refused_file(arguments: &Arguments) -> PathBuf {
    arguments.refused.clone().unwrap_or_else(|| {
        let mut name = arguments.file.clone().into_os_string();
        name.push(".refused.csv");
        name.into()
    })
}

fn bar(bytes: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(4));
    Ok(bar.with_style(ProgressStyle::with_template(
        "{bar:30} {percent}% {msg}, {eta} left",
    )?))
}

/// An import under way.
struct Import {
    refused: Refused,
    figures: Figures,
    bar: ProgressBar,
}

impl Import {
    /// Reads a file, and has its orders recorded if there is a client.
    async fn run(
        &mut self,
        client: Option<EarningServiceClient<Channel>>,
        version: Option<i64>,
        (file, format, reading): (File, Format, Reading),
    ) -> anyhow::Result<()> {
        let (orders, to_send) = mpsc::channel(READ_AHEAD);
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            file,
            bytes: Arc::clone(&bytes),
        };
        let reader = tokio::task::spawn_blocking(move || read(counted, format, &reading, &orders));
        let begun = Instant::now();
        let mut settle = |order: &Order, answer: Answer| {
            self.settle(order, answer)?;
            self.bar.set_position(bytes.load(Ordering::Relaxed));
            let seconds = begun.elapsed().as_secs_f64().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let rate = self.figures.rows as f64 / seconds;
            let told = format!("{} lines, {rate:.0}/s", self.figures.rows);
            self.bar.set_message(told);
            Ok(())
        };
        match client {
            Some(client) => send::all(client, version, to_send, &mut settle).await?,
            None => send::none(to_send, &mut settle).await?,
        }
        reader.await?
    }

    /// Notes what came of an order.
    fn settle(&mut self, order: &Order, answer: Answer) -> anyhow::Result<()> {
        self.figures.rows += order.rows.len() as u64;
        self.figures.orders += 1;
        match answer {
            Answer::NotSent => {}
            Answer::Recorded(recorded) if recorded.replayed => self.figures.there_before += 1,
            Answer::Recorded(recorded) => {
                self.figures.recorded += 1;
                self.add_points(&recorded);
            }
            Answer::Faulty(faults) => {
                self.figures.refused += 1;
                self.refused.faulty(order, &faults)?;
            }
            Answer::Refused(status) => {
                self.figures.refused += 1;
                self.refused.refused(order, &status)?;
            }
        }
        Ok(())
    }

    fn add_points(&mut self, recorded: &ImportedPurchase) {
        for earned in &recorded.earned_points {
            let points = self.figures.points.entry(earned.currency.clone());
            *points.or_default() += earned.points;
        }
    }
}

/// A file of which is known how much was read.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Reads the orders of a file, until nobody wants more of them. It is read twice: before the
/// first of an order's rows is sent it is known that more of them stand elsewhere.
fn read(
    mut file: Counted,
    format: Format,
    reading: &Reading,
    orders: &mpsc::Sender<Order>,
) -> anyhow::Result<()> {
    let mut names = Names::new(reading);
    let mut note = |order: Order| {
        names.note(&order);
        !orders.is_closed()
    };
    each(BufReader::new(&mut file.file), format, reading, &mut note)?;
    file.file.rewind()?;
    let mut put = |mut order: Order| {
        let stands_apart = names.stands_apart(&order);
        if let Ok(past) = &mut order.purchase {
            let key = reading.key(&past.request);
            past.request.request_id = format!("import-{}", key.simple());
            if stands_apart {
                let message = "the order stands elsewhere as well: its rows must stand together";
                order.purchase = Err(vec![Fault {
                    line: order.rows[0],
                    message: message.to_owned(),
                }]);
            }
        }
        orders.blocking_send(order).is_ok()
    };
    each(BufReader::new(file), format, reading, &mut put)
}

/// Reads the orders of a file.
fn each(
    file: impl BufRead,
    format: Format,
    reading: &Reading,
    put: &mut dyn FnMut(Order) -> bool,
) -> anyhow::Result<()> {
    match format {
        Format::Csv => csv::orders(file, reading, put),
        Format::Ndjson => ndjson::orders(file, reading, put),
    }
}

/// The orders of a file, 16 bytes each.
struct Names<'a> {
    reading: &'a Reading,
    seen: HashSet<Uuid>,
    apart: HashSet<Uuid>,
}

impl<'a> Names<'a> {
    fn new(reading: &'a Reading) -> Self {
        Self {
            reading,
            seen: HashSet::new(),
            apart: HashSet::new(),
        }
    }

    /// What an order is known by. Of one that is faulty it is not known within what its number
    /// is unique, where the programme has that.
    fn of(&self, order: &Order) -> Uuid {
        match &order.purchase {
            Ok(past) if self.reading.program.orders != Orders::default() => {
                self.reading.key(&past.request)
            }
            _ => {
                let name = format!("{} {}{}", order.brand.len(), order.brand, order.number);
                Uuid::new_v5(&NAMESPACE, name.as_bytes())
            }
        }
    }

    fn note(&mut self, order: &Order) {
        let name = self.of(order);
        if !self.seen.insert(name) {
            self.apart.insert(name);
        }
    }

    fn stands_apart(&self, order: &Order) -> bool {
        self.apart.contains(&self.of(order))
    }
}

fn tell(arguments: &Arguments, figures: &Figures) -> anyhow::Result<()> {
    if arguments.json {
        println!("{}", serde_json::to_string(figures)?);
        return Ok(());
    }
    let Figures {
        rows,
        orders,
        recorded,
        there_before,
        refused,
        points,
        milliseconds,
    } = figures;
    let file = Path::new(arguments.file.file_name().unwrap_or_default());
    println!(
        "{}: {rows} lines, {orders} orders in {}.{:03} s",
        file.display(),
        milliseconds / 1_000,
        milliseconds % 1_000
    );
    if arguments.dry_run {
        println!("{:>14} would be sent", orders - refused);
    } else {
        println!("{recorded:>14} recorded");
        println!("{there_before:>14} there before");
    }
    println!("{refused:>14} refused");
    for (currency, points) in points {
        println!("{points:>14} {currency} given");
    }
    Ok(())
}
