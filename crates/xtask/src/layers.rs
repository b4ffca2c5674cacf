//! `cargo xtask check layers`: what may name what. It reads the paths in each
//! file; `ARCHITECTURE.md` says why the rooms are in this order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, ensure};

use crate::sh;

/// The rooms of the services, from the top down: a room names those below it.
const ROOMS: [(&str, &[&[&str]]); 3] = [
    (
        "services/points/src/",
        &[
            &["lib", "main"],
            &["grpc"],
            &["app"],
            &["bulk", "config"],
            &["erasure"],
            &["adjustments", "earning", "referrals", "settlement"],
            &["ledger"],
            &["audit", "simulation"],
            &["feed", "members"],
            &["lane"],
            &["error"],
            &["plan", "shard"],
        ],
    ),
    (
        "services/tiers/src/",
        &[
            &["lib", "main"],
            &["grpc"],
            &["app"],
            &["config"],
            &["activities", "status"],
            &["feed"],
            &["error"],
            &["domain"],
        ],
    ),
    (
        "services/rewards/src/",
        &[
            &["lib", "main"],
            &["grpc"],
            &["app"],
            &["config"],
            &["redemption"],
            &["catalog"],
            &["points_client"],
            &["error"],
        ],
    ),
];

/// Files or folders that may name what.
const STORE: [&str; 1] = ["store"];
const WIRE: [&str; 4] = ["grpc", "feed", "follow", "points_client"];
/// What decides, without I/O.
const PURE: [&str; 6] = [
    "services/points/src/plan/",
    "services/tiers/src/domain",
    "crates/fealty-types/src/",
    "crates/fealty-ledger/src/",
    "crates/fealty-rules/src/",
    "crates/fealty-program/src/",
];
/// Applications: nothing depends on them, and they alone name a service.
const APPLICATIONS: [&str; 3] = ["crates/fealty-cli/", "crates/xtask/", "tests/"];
const SERVICES: [&str; 3] = ["fealty_points", "fealty_tiers", "fealty_rewards"];

/// Files by path, without what only their tests say.
type Files = BTreeMap<String, String>;

pub(crate) fn check() -> anyhow::Result<()> {
    let mut files = Files::new();
    for folder in ["crates", "services", "tests"] {
        read(&sh::root().join(folder), folder, &mut files)?;
    }
    let found = findings(&files);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

fn read(folder: &Path, name: &str, files: &mut Files) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let last = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}/{last}");
        if path.is_dir() {
            read(&path, &name, files)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") && last != "tests.rs" {
            files.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// What is wrong, a line each.
fn findings(files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    let mut graph: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files {
        let paths = paths(text);
        let names = |name: &str| paths.iter().any(|path| path[0] == name);
        let service = ROOMS.iter().find(|(src, _)| path.starts_with(src));
        let mut must = |holds: bool, rule: &str| {
            if !holds {
                found.push(format!("{path}: {rule}"));
            }
        };
        if service.is_some() {
            let sqlx = !names("sqlx") || lies_in(path, &STORE) || path.ends_with("src/lib.rs");
            must(sqlx, "only a store names sqlx");
            let wire = !names("tonic") && !names("fealty_proto");
            let rule = "only grpc, feed, follow and clients name tonic or fealty_proto";
            must(wire || lies_in(path, &WIRE), rule);
        }
        if PURE.iter().any(|pure| path.starts_with(pure)) {
            let outside = ["sqlx", "tonic", "fealty_proto", "fealty_postgres", "tokio"];
            must(!outside.into_iter().any(names), "what decides does no I/O");
            let error = |path: &Vec<&str>| path.starts_with(&["crate", "error"]);
            let error = service.is_some() && paths.iter().any(error);
            must(
                !error,
                "what decides has errors of its own, not crate::error",
            );
        }
        if !APPLICATIONS.iter().any(|app| path.starts_with(app)) {
            let own = |name: &str| path.starts_with(&name.replace("fealty_", "services/"));
            let services = SERVICES.into_iter().filter(|name| !own(name)).any(names);
            must(
                !services && !names("fealty_cli"),
                "only applications name a service",
            );
        }
        let Some(source) = path.find("/src/").map(|at| &path[..at + 5]) else {
            continue;
        };
        if let Some((src, levels)) = service {
            let known = level(levels, src, path).is_some();
            must(known, "its room has no place in the order of rooms");
        }
        for target in paths
            .iter()
            .filter_map(|named| resolve(files, source, path, named, 0))
        {
            if let Some((_, levels)) = service
                && let (Some(from), Some(to)) =
                    (level(levels, source, path), level(levels, source, &target))
                && to <= from
                && room(source, &target) != room(source, path)
            {
                must(false, &format!("{target} is not below it"));
            }
            if target != *path {
                graph.entry(path).or_default().insert(target);
            }
        }
    }
    let circles = circles(&graph).into_iter();
    found.extend(circles.map(|circle| format!("a circle: {circle}")));
    found
}

/// Whether a file or one of its folders below `src` has such a name.
fn lies_in(path: &str, names: &[&str]) -> bool {
    let mut parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
    parts.any(|part| names.contains(&part))
}

fn room<'a>(source: &str, path: &'a str) -> &'a str {
    let rest = path.strip_prefix(source).unwrap_or(path);
    rest.split('/')
        .next()
        .unwrap_or(rest)
        .trim_end_matches(".rs")
}

fn level(levels: &[&[&str]], source: &str, path: &str) -> Option<usize> {
    levels
        .iter()
        .position(|rooms| rooms.contains(&room(source, path)))
}

/// The paths that a file names, each part by part; `use` with braces is spread.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let tests = text
        .match_indices("\n#[cfg(test)]\nmod ")
        .find(|(at, head)| {
            // Those in a file of their own end with the line.
            let rest = &text[at + head.len()..];
            rest.lines().next().is_some_and(|line| line.ends_with('{'))
        });
    let text = tests.map_or(text, |(at, _)| &text[..at]);
    let mut paths = Vec::new();
    for statement in statements(text) {
        spread(statement, &[], &mut paths);
    }
    paths
}

/// Where a text names paths, words joined by `::`, outside of comments.
fn statements(piece: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let code = |line: &&str| !line.trim_start().starts_with("//");
    for line in piece.split_inclusive('\n').filter(code) {
        let at = line.as_ptr() as usize - piece.as_ptr() as usize;
        let mut from = 0;
        while let Some(join) = line[from..].find("::").map(|join| from + join) {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let start = line[..join]
                .rfind(|c| !is_word(c))
                .map_or(0, |before| before + 1);
            if start < join {
                found.push(&piece[at + start..]);
            }
            // Past this path, up to its braces.
            let rest = &line[join..];
            from = join
                + rest
                    .find(|c: char| !is_word(c) && c != ':')
                    .unwrap_or(rest.len())
                    .max(2);
        }
    }
    found
}

/// Spreads `a::{b, c::d}` into its paths, beginning with `before`.
fn spread<'a>(text: &'a str, before: &[&'a str], paths: &mut Vec<Vec<&'a str>>) {
    let text = text.trim_start();
    let word_end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let mut path = before.to_vec();
    path.push(&text[..word_end]);
    let rest = &text[word_end..];
    let Some(rest) = rest.strip_prefix("::") else {
        if path.iter().all(|part| !part.is_empty()) {
            paths.push(path);
        }
        return;
    };
    let Some(inner) = rest.strip_prefix('{') else {
        return spread(rest, &path, paths);
    };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                spread(&inner[start..at], &path, paths);
                start = at + 1;
                if c == '}' {
                    return;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

/// The file that a path names, by way of what modules pass on (`pub use`).
fn resolve(
    files: &Files,
    source: &str,
    path: &str,
    named: &[&str],
    depth: usize,
) -> Option<String> {
    let inside = path.strip_prefix(source)?.trim_end_matches(".rs");
    let mut module: Vec<&str> = inside.split('/').collect();
    if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
        module.pop();
    }
    let mut rest = match named[0] {
        "crate" => {
            module.clear();
            &named[1..]
        }
        "self" => &named[1..],
        "super" => {
            let ups = named.iter().take_while(|part| **part == "super").count();
            module.truncate(module.len().checked_sub(ups)?);
            &named[ups..]
        }
        child => {
            let below = [&module[..], &[child]].concat();
            file_of(files, source, &below)?;
            named
        }
    };
    while let Some((next, after)) = rest.split_first() {
        let below = [&module[..], &[*next]].concat();
        if file_of(files, source, &below).is_none() {
            break;
        }
        (module, rest) = (below, after);
    }
    let file = file_of(files, source, &module)?;
    let passes_on = rest.first().filter(|_| depth < 8).and_then(|name| {
        let passed = paths(&files[&file]).into_iter().find(|path| {
            path.last() == Some(name) && path.len() > 1 && !matches!(path[0], "crate" | "super")
        })?;
        resolve(files, source, &file, &passed, depth + 1)
    });
    passes_on.or(Some(file))
}

fn file_of(files: &Files, source: &str, module: &[&str]) -> Option<String> {
    let path = module.join("/");
    let file = if path.is_empty() {
        "lib".to_owned()
    } else {
        path.clone()
    };
    let candidates = [
        format!("{source}{file}.rs"),
        format!("{source}{path}/mod.rs"),
    ];
    candidates.into_iter().find(|file| files.contains_key(file))
}

/// The circles in the graph, each once. What a module names of its own children is
/// no edge: they are one house, and what it passes on was followed to them.
fn circles(graph: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
    fn visit<'a>(
        at: &'a str,
        graph: &'a BTreeMap<&str, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        found: &mut Vec<String>,
    ) {
        if let Some(start) = way.iter().position(|seen| *seen == at) {
            let circle: Vec<&str> = way[start..].iter().copied().chain([at]).collect();
            return found.push(circle.join(" -> "));
        }
        if !done.insert(at) {
            return;
        }
        way.push(at);
        let folder = at.strip_suffix("mod.rs").or(at.strip_suffix("lib.rs"));
        for target in graph.get(at).into_iter().flatten() {
            if folder.is_none_or(|folder| !target.starts_with(folder)) {
                visit(target, graph, way, done, found);
            }
        }
        way.pop();
    }
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    for at in graph.keys() {
        visit(at, graph, &mut Vec::new(), &mut done, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        findings(&files.collect())
    }

    #[test]
    fn a_handler_that_names_sqlx_is_found() {
        let text = "#[cfg(test)]\nmod tests;\nuse tonic::Status;\n\
                    fn read() { sqlx::query!(\"SELECT 1\"); }\n";
        let path = "services/points/src/ledger/grpc/mod.rs";
        assert_eq!(
            found(&[(path, text)]),
            [format!("{path}: only a store names sqlx")]
        );
        let path = "services/points/src/audit/store.rs";
        assert!(found(&[(path, "use sqlx::PgExecutor;")]).is_empty());
    }

    #[test]
    fn a_plan_that_names_tonic_is_found() {
        let path = "services/points/src/plan/grant.rs";
        let found = found(&[(
            path,
            "use std::{fmt, time::Duration};\nuse tonic::{Code, Status};\n",
        )]);
        assert!(
            found.contains(&format!("{path}: what decides does no I/O")),
            "{found:?}"
        );
    }

    #[test]
    fn a_room_that_imports_upwards_is_found() {
        let lane = "services/points/src/lane/mod.rs";
        let files = [
            (
                lane,
                "mod run;\nuse crate::{error::Error, ledger::Ledger};\n",
            ),
            (
                "services/points/src/ledger/mod.rs",
                "mod service;\npub(crate) use service::Ledger;\n",
            ),
            (
                "services/points/src/ledger/service.rs",
                "use crate::lane::Lanes;\npub struct Ledger;\n",
            ),
        ];
        let found = found(&files);
        let service = "services/points/src/ledger/service.rs";
        assert!(
            found.contains(&format!("{lane}: {service} is not below it")),
            "{found:?}"
        );
    }

    #[test]
    fn a_circle_between_files_is_found() {
        let files = [
            (
                "services/points/src/plan/mod.rs",
                "mod grant;\nmod spend;\npub(super) use grant::G;\n",
            ),
            (
                "services/points/src/plan/grant.rs",
                "use super::spend::S;\npub struct G;\n",
            ),
            (
                "services/points/src/plan/spend.rs",
                "use super::G;\npub struct S;\n",
            ),
        ];
        let found = found(&files);
        assert!(
            found.iter().any(|line| line.starts_with("a circle: ")),
            "{found:?}"
        );
    }

    #[test]
    fn an_application_alone_names_a_service() {
        let text = "fn read() { fealty_points::start(); }";
        assert_eq!(found(&[("crates/fealty-server/src/lib.rs", text)]).len(), 1);
        assert!(found(&[("crates/fealty-cli/src/serve.rs", text)]).is_empty());
    }

    #[test]
    fn the_project_keeps_to_them() {
        check().expect("no finding");
    }
}
