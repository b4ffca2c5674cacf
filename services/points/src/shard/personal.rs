//! What a programme declares personal: the log keeps a salted hash of it, the value
//! stands beside the log and can be deleted.
//!
//! `sha256:` and the SHA-256 of salt and value, in hexadecimal. The salt is SHA-256 of the
//! member's key, the request's and the field's name, so a request that is sent again is
//! the same request. Once the key is deleted nobody can find a value by trying.

use std::{collections::BTreeSet, sync::Arc};

use fealty_ledger::{Command, Transaction};
use fealty_program::Personal;
use fealty_types::{
    ActivityType, AttributeName, AttributeValue, Attributes, Metadata, MetadataValue, Reference,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{keys::request_key, write::Answer};

/// What the hashes of a member's values are salted with.
pub(crate) type PersonalKey = [u8; 32];

/// The field of an adjustment's note.
const NOTE: &str = "note";
/// What a hash begins with.
const SEALED: &str = "sha256:";

/// A value that stands beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PersonalValue {
    /// The field that it stood in: `note`, `metadata.` and the key, or `attributes.` and the
    /// name, of a line `lines[0].attributes.` and the name.
    pub(crate) field: String,
    pub(crate) value: String,
}

/// The values of a request, to be kept in the commit that writes its transaction.
#[derive(Clone, Debug)]
pub(crate) struct PersonalValues {
    pub(crate) request_key: Uuid,
    /// What they were hashed with: if the member has another by then, what is personal
    /// was erased meanwhile, and they are not kept.
    pub(crate) key: PersonalKey,
    pub(crate) values: Vec<PersonalValue>,
}

/// Whether a request has something personal.
pub(crate) fn is_personal(personal: &Personal, metadata: &Metadata, command: &Command) -> bool {
    let has_note = matches!(command, Command::Adjust(adjust) if !adjust.note.as_str().is_empty());
    personal.notes && has_note
        || personal.concerns(metadata)
        || has_attributes(personal, command, |_| true)
}

/// Whether a command has attributes that are declared personal, with such a value.
fn has_attributes(
    personal: &Personal,
    command: &Command,
    such: impl Fn(&AttributeValue) -> bool,
) -> bool {
    let has = |given: &Attributes, names: &BTreeSet<AttributeName>| {
        let mut given = given.iter();
        !names.is_empty() && given.any(|(name, value)| names.contains(name) && such(value))
    };
    match command {
        Command::Purchase(purchase) => {
            let mut lines = purchase.lines.iter();
            has(&purchase.attributes, &personal.purchase)
                || lines.any(|line| has(&line.attributes, &personal.line))
        }
        Command::Activity(activity) => {
            let names = personal.activities.get(&activity.of_type);
            names.is_some_and(|names| has(&activity.attributes, names))
        }
        _ => false,
    }
}

/// What has an attribute.
#[derive(Clone, Copy)]
enum Of<'a> {
    Purchase,
    Line(usize),
    Activity(&'a ActivityType),
}

impl Of<'_> {
    /// Whether a programme declares its attribute of a name personal.
    fn is_personal(self, personal: &Personal, name: &AttributeName) -> bool {
        match self {
            Self::Purchase => personal.purchase.contains(name),
            Self::Line(_) => personal.line.contains(name),
            Self::Activity(of_type) => {
                let names = personal.activities.get(of_type);
                names.is_some_and(|names| names.contains(name))
            }
        }
    }

    /// The field in which it stands.
    fn field(self, name: &AttributeName) -> String {
        match self {
            Self::Purchase | Self::Activity(_) => format!("attributes.{name}"),
            Self::Line(at) => format!("lines[{at}].attributes.{name}"),
        }
    }
}

/// Changes the attributes of a command.
fn change_attributes(
    command: &mut Command,
    mut change: impl FnMut(Of<'_>, &AttributeName, &mut AttributeValue),
) {
    match command {
        Command::Purchase(purchase) => {
            for (name, value) in &mut purchase.attributes {
                change(Of::Purchase, name, value);
            }
            for (at, line) in purchase.lines.iter_mut().enumerate() {
                for (name, value) in &mut line.attributes {
                    change(Of::Line(at), name, value);
                }
            }
        }
        Command::Activity(activity) => {
            for (name, value) in &mut activity.attributes {
                change(Of::Activity(&activity.of_type), name, value);
            }
        }
        _ => {}
    }
}

/// Whether something that is declared personal stands in a change as it is.
pub(crate) fn has_plain(personal: &Personal, metadata: &Metadata, command: &Command) -> bool {
    let is_plain = |text: &str| !text.is_empty() && !text.starts_with(SEALED);
    let note = matches!(command, Command::Adjust(adjust) if is_plain(adjust.note.as_str()));
    let mut declared = metadata
        .iter()
        .filter(|(key, _)| personal.metadata.contains(*key));
    personal.notes && note
        || declared.any(|(_, value)| is_plain(value.as_str()))
        || has_attributes(personal, command, |value| !is_sealed(value))
}

/// Puts hashes in the place of what is personal.
pub(crate) fn seal(
    personal: &Personal,
    (key, request_key): (PersonalKey, Uuid),
    metadata: &mut Metadata,
    command: &mut Command,
) -> PersonalValues {
    let mut values = Vec::new();
    let mut sealed = |field: String, value: &str| {
        let hash = hash(&key, request_key, &field, value);
        let value = value.to_owned();
        values.push(PersonalValue { field, value });
        hash
    };
    metadata.change(|name, value| {
        if personal.metadata.contains(name) {
            let hash = sealed(format!("metadata.{name}"), value.as_str());
            *value = hash
                .parse::<MetadataValue>()
                .expect("short, and no control characters");
        }
    });
    if let Command::Adjust(adjust) = command
        && personal.notes
        && !adjust.note.as_str().is_empty()
    {
        let hash = sealed(NOTE.to_owned(), adjust.note.as_str());
        adjust.note = hash
            .parse::<Reference>()
            .expect("short, and no control characters");
    }
    change_attributes(command, |of, name, value| {
        // Of another type it is refused: it never comes so far as to be written.
        if let AttributeValue::Text(text) = value
            && of.is_personal(personal, name)
        {
            *text = sealed(of.field(name), text.as_str())
                .parse()
                .expect("short, and no control characters");
        }
    });
    PersonalValues {
        request_key,
        key,
        values,
    }
}

/// The key of the request that made a transaction in which hashes may stand for values.
pub(crate) fn sealed_by(transaction: &Transaction) -> Option<Uuid> {
    let mut metadata = transaction.metadata()?.iter();
    let in_attributes = |given: &Attributes| given.values().any(is_sealed);
    let in_command = match transaction.command() {
        Some(Command::Adjust(adjust)) => adjust.note.as_str().starts_with(SEALED),
        Some(Command::Purchase(purchase)) => {
            let mut lines = purchase.lines.iter();
            in_attributes(&purchase.attributes) || lines.any(|line| in_attributes(&line.attributes))
        }
        Some(Command::Activity(activity)) => in_attributes(&activity.attributes),
        _ => false,
    };
    let is_sealed = in_command || metadata.any(|(_, value)| value.as_str().starts_with(SEALED));
    let request_id = transaction.request_id().filter(|_| is_sealed)?;
    Some(request_key(
        &transaction.program,
        &transaction.member,
        request_id,
    ))
}

/// Puts the values of the request that made a transaction in the place of their hashes.
pub(crate) fn unseal(transaction: &mut Transaction, values: &[PersonalValue]) {
    let fealty_ledger::Cause::Request {
        command, metadata, ..
    } = &mut transaction.cause
    else {
        return;
    };
    let value = |field: &str| {
        let known = values.iter().find(|known| known.field == field);
        known.map(|known| known.value.as_str())
    };
    metadata.change(|name, sealed| {
        let value = value(&format!("metadata.{name}"));
        if let Some(Ok(value)) = value.map(str::parse) {
            *sealed = value;
        }
    });
    if let Command::Adjust(adjust) = command
        && let Some(Ok(note)) = value(NOTE).map(str::parse)
    {
        adjust.note = note;
    }
    change_attributes(command, |of, name, sealed| {
        if let (AttributeValue::Text(text), Some(Ok(value))) =
            (sealed, value(&of.field(name)).map(str::parse))
        {
            *text = value;
        }
    });
}

/// An answer, as who asked knows it.
pub(crate) fn unsealed(answer: Answer, personal: Option<&PersonalValues>) -> Answer {
    let Some(personal) = personal else {
        return answer;
    };
    let mut transaction = Transaction::clone(&answer.transaction);
    unseal(&mut transaction, &personal.values);
    Answer {
        transaction: Arc::new(transaction),
        ..answer
    }
}

fn is_sealed(value: &AttributeValue) -> bool {
    matches!(value, AttributeValue::Text(text) if text.as_str().starts_with(SEALED))
}

fn hash(key: &PersonalKey, request_key: Uuid, field: &str, value: &str) -> String {
    let salt = Sha256::new()
        .chain_update(key)
        .chain_update(request_key.as_bytes())
        .chain_update(field)
        .finalize();
    let hash = Sha256::new()
        .chain_update(salt)
        .chain_update(value)
        .finalize();
    format!("{SEALED}{hash:x}")
}
