//! The list of what was refused.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use ::csv::Writer;
use anyhow::{Context as _, ensure};
use fealty_client::{reason, violations};
use tonic::Status;

use super::{Fault, Order};

/// A CSV file with a row for each thing that was wrong; none where nothing was.
pub(super) struct Refused {
    path: PathBuf,
    file: Option<Writer<File>>,
}

impl Refused {
    /// Begins the list; one of an import before is gone.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        if let Ok(there) = fs::symlink_metadata(path) {
            ensure!(there.is_file(), "{} must be a file", path.display());
            let removed = fs::remove_file(path);
            removed.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file: None,
        })
    }

    /// What was wrong in the file.
    pub(super) fn faulty(&mut self, order: &Order, faults: &[Fault]) -> anyhow::Result<()> {
        for fault in faults {
            self.row(fault.line, order, "INVALID_ROW", &fault.message)?;
        }
        Ok(())
    }

    /// What the service refused.
    pub(super) fn refused(&mut self, order: &Order, status: &Status) -> anyhow::Result<()> {
        let first = order.rows[0];
        let reason = reason(status).unwrap_or_default();
        let wrong = violations(status);
        if wrong.is_empty() {
            return self.row(first, order, &reason, status.message());
        }
        for (field, rule) in wrong {
            let line = of_line(&field).and_then(|index| order.rows.get(index));
            let message = format!("`{field}` {rule}");
            self.row(*line.unwrap_or(&first), order, &reason, &message)?;
        }
        Ok(())
    }

    fn row(&mut self, line: u64, order: &Order, reason: &str, message: &str) -> anyhow::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let path = &self.path;
                let file = File::create(path);
                let file = file.with_context(|| format!("cannot write {}", path.display()))?;
                let mut file = Writer::from_writer(file);
                file.write_record(["line", "brand", "order", "reason", "message"])?;
                none.insert(file)
            }
        };
        let line = line.to_string();
        file.write_record([&line, &order.brand, &order.number, reason, message])?;
        Ok(())
    }

    /// Ends the list; whether something is in it.
    pub(super) fn finish(self) -> anyhow::Result<bool> {
        let Some(mut file) = self.file else {
            return Ok(false);
        };
        file.flush()?;
        Ok(true)
    }
}

/// Which line of a purchase a field such as `lines[3].sku` is of.
fn of_line(field: &str) -> Option<usize> {
    let (index, _) = field.strip_prefix("lines[")?.split_once(']')?;
    index.parse().ok()
}
