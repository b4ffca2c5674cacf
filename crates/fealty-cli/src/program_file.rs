//! A programme's text: one file, or a folder whose files are its sections.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use fealty_program::SOURCE_LEN_MAX;

/// A programme's text, and which file each part of it is from.
#[derive(Clone, Debug)]
pub struct ProgramFile {
    /// The text, of all files in the order of their names.
    pub text: String,
    /// The files, each with the line of the text at which it begins, from 1.
    files: Vec<(PathBuf, u64)>,
}

impl ProgramFile {
    /// Reads a file, or the `.yaml` and `.yml` files of a folder.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        if path.is_dir() {
            for entry in
                fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?
            {
                let path = entry?.path();
                let is_yaml = path
                    .extension()
                    .is_some_and(|end| end == "yaml" || end == "yml");
                paths.extend(is_yaml.then_some(path));
            }
            paths.sort();
            if paths.is_empty() {
                bail!("{} has no .yaml files", path.display());
            }
        } else {
            paths.push(path.to_owned());
        }
        let (mut text, mut files) = (String::new(), Vec::new());
        for path in paths {
            let part =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            files.push((path, text.lines().count() as u64 + 1));
            // A line that begins a document is a document's, not a section's.
            let part = part.strip_prefix("---").unwrap_or(&part);
            text.push_str(part);
            if !text.ends_with('\n') {
                text.push('\n');
            }
            if text.len() > SOURCE_LEN_MAX {
                bail!("a programme is at most {SOURCE_LEN_MAX} bytes long");
            }
        }
        Ok(Self { text, files })
    }

    /// A line of the text as its file has it: `earning.yaml:7`.
    #[must_use]
    pub fn place(&self, line: u64) -> String {
        let found = self.files.iter().rev().find(|(_, first)| *first <= line);
        match found {
            Some((path, first)) => format!("{}:{}", path.display(), line - first + 1),
            None => line.to_string(),
        }
    }
}
