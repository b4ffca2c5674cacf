//! Installing what a fresh machine lacks.

use anyhow::{Context as _, bail};
use fealty_stack::Binaries;

use crate::sh;

/// Installs packages without starting the servers they bring: a service that
/// Debian would start is refused while this runs, and no cluster is made.
const INSTALL: &str = r"
set -e
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common
made_conf=
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
    made_conf=1
fi
made_policy=
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    made_policy=1
fi
clean() {
    [ -z $made_policy ] || rm -f /usr/sbin/policy-rc.d
    [ -z $made_conf ] || rm -f /etc/postgresql-common/createcluster.conf
}
trap clean EXIT
apt-get update -q
apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold $PACKAGES
";

/// Installs Postgres and Redis if they are missing.
pub(crate) fn servers() -> anyhow::Result<()> {
    match Binaries::find() {
        Ok(_) => Ok(()),
        Err(missing) => {
            packages("postgresql redis-server", &missing.what.join(" and "))?;
            Binaries::find().context("after installing")?;
            Ok(())
        }
    }
}

/// Installs Debian packages, with sudo where this is not root.
pub(crate) fn packages(names: &str, why: &str) -> anyhow::Result<()> {
    if !sh::has("apt-get") {
        bail!("{why} missing, and there is no apt-get: install it with your package manager");
    }
    eprintln!("installing {names} by apt-get: {why} missing");
    let script = INSTALL.replace("$PACKAGES", names);
    if is_root() {
        return sh::run("/bin/sh", &["-c", &script], &[]);
    }
    if !sh::has("sudo") {
        bail!("as root, run: apt-get install -y {names}");
    }
    sh::run("sudo", &["/bin/sh", "-c", &script], &[])
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
