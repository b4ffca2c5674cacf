//! "Did you mean …?"

/// `, did you mean …?`, where one of the names is near to what was written; else nothing.
#[must_use]
pub fn hint<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = nearest(written, names);
    near.map_or(String::new(), |name| format!(", did you mean `{name}`?"))
}

fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::osa_distance(written, name);
    let (distance, name) = names.map(|name| (distance(name), name)).min()?;
    // A third of it may be wrong.
    (distance <= written.chars().count().max(3) / 3).then_some(name)
}
