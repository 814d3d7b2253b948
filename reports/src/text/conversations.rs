//! Wireshark's conversation tables, two lines a row: side A above, side B below.

use model::{Conversation, Conversations, Endpoint};

use super::page::Page;
use crate::figures::{count_within, prefixed, seconds_within};
use crate::words::columns;

/// As many rows a table are listed, those with the most bytes.
const MAX_ROWS: usize = 24;

/// Columns of an address; a longer one has a line of its own.
const ADDRESS: usize = 15;

/// All four tables; an empty one is left out.
pub(super) fn tables(page: &mut Page, conversations: &Conversations) {
    let tables = [
        ("TCP", &conversations.tcp),
        ("UDP", &conversations.udp),
        ("IPv4", &conversations.ipv4),
        ("IPv6", &conversations.ipv6),
    ];
    for (name, rows) in tables {
        if !rows.is_empty() {
            table(page, name, rows);
        }
    }
}

fn table(page: &mut Page, name: &str, rows: &[Conversation]) {
    page.heading(&format!("{name} CONVERSATIONS ({})", rows.len()), "frame bytes, as Wireshark counts them");
    page.titles("Address A        Port A   Packets        Bytes A→B pkts    A→B bytes Bits/s A→B");
    page.titles("Address B        Port B Rel Start     Duration B→A pkts    B→A bytes Bits/s B→A");
    let mut largest: Vec<&Conversation> = rows.iter().collect();
    if rows.len() > MAX_ROWS {
        largest.sort_by_key(|c| std::cmp::Reverse(c.bytes));
        largest.truncate(MAX_ROWS);
    }
    for conversation in largest {
        row(page, conversation);
    }
    page.left_out(rows.len(), MAX_ROWS);
}

fn row(page: &mut Page, c: &Conversation) {
    let both = [count_within(c.packets, 9), count_within(c.bytes, 12)];
    let ab = [count_within(c.packets_ab, 8), count_within(c.bytes_ab, 12), bits(c.bps_ab)];
    side(page, c.a, &both, &ab);
    let time = [seconds_within(c.start_s, 9), seconds_within(c.duration_s, 12)];
    let ba = [count_within(c.packets_ba, 8), count_within(c.bytes_ba, 12), bits(c.bps_ba)];
    side(page, c.b, &time, &ba);
    if c.reused > 0 {
        page.detail(&format!("the same addresses and ports were used again {} times", c.reused));
    }
}

fn side(page: &mut Page, side: Endpoint, shared: &[String; 2], own: &[String; 3]) {
    let mut address = side.address.to_string();
    if columns(&address) > ADDRESS {
        page.line(&address);
        address.clear();
    }
    let port = side.port.map(|p| p.to_string()).unwrap_or_default();
    page.line(&format!(
        "{address:<ADDRESS$}  {port:>6} {:>9} {:>12} {:>8} {:>12} {:>10}",
        shared[0], shared[1], own[0], own[1], own[2]
    ));
}

/// Bits a second, exact while they fit; Wireshark leaves the cell empty where there is no time to divide by.
fn bits(bps: Option<f64>) -> String {
    match bps.filter(|v| v.is_finite()) {
        Some(bps) if bps < 9_999_999.5 => grouped(bps),
        Some(bps) => prefixed(bps),
        None => String::new(),
    }
}

fn grouped(bps: f64) -> String {
    let digits = format!("{bps:.0}");
    digits.parse().map_or(digits, |n| count_within(n, 10))
}
