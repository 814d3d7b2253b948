//! The faults that the server can inject.

use super::TextOptions;
use super::page::{Ink, Page};

/// A fault in a listing.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its name.
    pub id: String,
    /// What is wrong then, in one line.
    pub title: String,
    /// What the server does, and when.
    pub does: String,
    /// The requirements that this breaks.
    pub breaks: Vec<String>,
}

/// All about faults.
pub fn faults(faults: &[Fault], options: &TextOptions) -> String {
    let mut page = Page::new(options);
    page.heading("FAULTS", "what serve --fault ID does");
    for fault in faults {
        page.entry(&fault.id);
        let title = page.ink(Ink::Strong, &fault.title);
        page.line(&format!("    {title}."));
        page.detail(&fault.does);
        page.labelled("breaks", &fault.breaks.join(", "));
        page.blank();
    }
    page.line("What every requirement demands, and why: streamgauge explain ID");
    page.finish()
}
