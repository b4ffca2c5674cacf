//! Orders out of a file with a JSON object in each line.

use std::io::BufRead;

use super::{
    Fault, Order,
    purchase::{PurchaseText, Reading},
};

/// The longest line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Reads orders, in the order of the file, until `put` wants no more.
pub(super) fn orders(
    mut file: impl BufRead,
    reading: &Reading,
    put: &mut dyn FnMut(Order) -> bool,
) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if !read_line(&mut file, &mut bytes)? {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        if !put(order(&bytes, number, reading)) {
            break;
        }
    }
    Ok(())
}

/// Reads a line, and of one that is too long as much as shows that. Whether there is one.
fn read_line(file: &mut impl BufRead, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut has_read = false;
    loop {
        let there = file.fill_buf()?;
        if there.is_empty() {
            return Ok(has_read);
        }
        has_read = true;
        let end = there.iter().position(|byte| *byte == b'\n');
        let read = end.map_or(there.len(), |end| end + 1);
        let room = (LINE_BYTES_MAX + 1).saturating_sub(bytes.len());
        bytes.extend_from_slice(&there[..read.min(room)]);
        file.consume(read);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn order(bytes: &[u8], number: u64, reading: &Reading) -> Order {
    let rows = vec![number];
    let faulty = |message| {
        Err(vec![Fault {
            line: number,
            message,
        }])
    };
    if bytes.len() > LINE_BYTES_MAX {
        return Order {
            rows,
            brand: String::new(),
            number: String::new(),
            purchase: faulty("the line is longer than 1 MiB".to_owned()),
        };
    }
    match serde_json::from_slice::<PurchaseText>(bytes.trim_ascii_end()) {
        Ok(text) => {
            let says_nothing = text.amount.is_none() && text.lines.is_empty();
            let (brand, order) = (text.brand.clone(), text.order.clone());
            let mut purchase = reading.request(text, &rows);
            if says_nothing {
                let mut faults = purchase.err().unwrap_or_default();
                let message = "`amount` must be set, or `lines`".to_owned();
                faults.push(Fault {
                    line: number,
                    message,
                });
                purchase = Err(faults);
            }
            Order {
                rows,
                brand,
                number: order,
                purchase,
            }
        }
        Err(error) => Order {
            rows,
            brand: String::new(),
            number: String::new(),
            purchase: faulty(told(&error)),
        },
    }
}

/// What is wrong with a line, and at which character of it.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The parser counts lines too, and has seen one.
    let what = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(what, _)| what);
    format!("column {}: {what}", error.column())
}
