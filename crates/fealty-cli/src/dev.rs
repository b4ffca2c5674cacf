//! `fealty dev`: everything one needs to write a client, until Ctrl-C.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::Write as _,
    net::TcpListener,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use fealty_auth::{Grant, Role};
use fealty_stack::Stack;

use crate::{
    apply::{How, apply},
    demo::{Fleet, Ground, PROGRAM},
    token::{Keys, grant},
};

/// The ports at which the command looks for the services, if nothing is said.
const PORTS: [u16; 3] = [7001, 7002, 7003];
/// How long a development token holds.
const TOKEN_VALID_S: i64 = 30 * 24 * 60 * 60;

/// Run everything for writing a client: a private Postgres that keeps its data, a
/// Redis, the three services, the example programme, and tokens. Ctrl-C stops all.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where the data is kept; removing it begins anew. By default a folder of yours in
    /// /var/tmp.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// The user who runs this.
fn user() -> std::io::Result<u32> {
    // The owner of this process's entry.
    Ok(std::fs::metadata("/proc/self")?.uid())
}

/// A folder of the user's own: of root's home Postgres, which runs as somebody else, has
/// no use.
fn default_folder() -> anyhow::Result<PathBuf> {
    Ok(format!("/var/tmp/fealty-dev-{}", user()?).into())
}

/// Makes the folder. One that somebody else made is refused: keys of theirs may be in it.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    // Postgres, which may run as another user, goes through it.
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o711).create(folder)?;
    if folder.symlink_metadata()?.uid() != user()? {
        bail!("{} belongs to somebody else", folder.display());
    }
    Ok(())
}

/// Writes a token into a file of the folder, and answers with its path.
fn token_file(keys: &Keys, folder: &Path, name: &str, grant: Grant) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{name}.token"));
    let grant = Grant {
        valid_s: TOKEN_VALID_S,
        ..grant
    };
    let token = keys.sign(&grant)?;
    // Nobody else is to read it.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options
        .open(&path)
        .with_context(|| format!("writing {}", path.display()))?;
    file.write_all(token.as_bytes())?;
    Ok(path)
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = match arguments.folder {
        Some(folder) => std::path::absolute(folder)?,
        None => default_folder()?,
    };
    make_folder(&folder).with_context(|| format!("making {}", folder.display()))?;
    for port in PORTS {
        if TcpListener::bind(("127.0.0.1", port)).is_err() {
            bail!("somebody listens on port {port} already: is `cargo xtask dev` running?");
        }
    }
    eprintln!("starting a private Postgres and Redis, and the services");
    let postgres = folder.join("postgres");
    let stack = tokio::task::spawn_blocking(move || Stack::start_in(&postgres)).await??;
    let keys = folder.join("keys");
    let keys = if keys.join("jwks.json").exists() {
        Keys::open(&keys)?
    } else {
        Keys::make(&keys)?
    };
    let till = Grant {
        programs: vec!["record-club".to_owned()],
        brands: vec!["*".to_owned()],
        ..grant("till-1", &[Role::Checkout])
    };
    let operator = grant("you", &[Role::Operator, Role::Auditor, Role::Finance]);
    let till = token_file(&keys, &folder, "till", till)?;
    let operator = token_file(&keys, &folder, "operator", operator)?;
    let ground = Ground {
        ports: PORTS,
        keys,
        test_clock: false,
    };
    let program = std::env::current_exe()?;
    let fleet = Fleet::start_on(&program, stack, ground, &[]).await?;
    apply(fleet.clients(), PROGRAM, How::Now).await?;
    print(&fleet, &folder, &program, &till, &operator);
    fealty_server::shutdown_signal().await;
    eprintln!("stopping; the data stays in {}", folder.display());
    tokio::task::spawn_blocking(move || drop(fleet)).await?;
    Ok(())
}

fn print(fleet: &Fleet, folder: &Path, program: &Path, till: &Path, operator: &Path) {
    let bin = program.parent().unwrap_or(program).display();
    println!(
        "
points, tiers and rewards listen on 127.0.0.1, ports {}, {} and {}.
The programme `record-club` is applied. Data and tokens are in {}.

In another shell:

  export PATH=\"{bin}:$PATH\"
  export TILL=$(cat {})             # a till of the record shop
  export FEALTY_TOKEN=$(cat {})     # you, the operator

  export FEALTY_DATABASE_URL='{}'   # of points, for `fealty verify`

The first call is in the README, your first programme in docs/first-programme.md.
Ctrl-C stops everything.",
        PORTS[0],
        PORTS[1],
        PORTS[2],
        folder.display(),
        till.display(),
        operator.display(),
        fleet.points_database_url(),
    );
}
