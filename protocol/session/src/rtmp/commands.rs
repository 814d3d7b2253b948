//! The answers of a server, as the clients in the field want them.

use wire::amf0::Amf0;
use wire::rtmp::message::Command;

/// `_result` of connect.
pub(super) fn connect_result(transaction: f64) -> Command {
    let mut command = Command::new("_result", transaction, Vec::new());
    command.object = Amf0::object([
        // Old players read a version out of this and switch features off where they find none.
        ("fmsVer", Amf0::text("FMS/3,5,7,7009")),
        ("capabilities", Amf0::Number(31.0)),
        ("mode", Amf0::Number(1.0)),
    ]);
    command.arguments.push(Amf0::object([
        ("level", Amf0::text("status")),
        ("code", Amf0::text("NetConnection.Connect.Success")),
        ("description", Amf0::text("Connection succeeded.")),
        ("objectEncoding", Amf0::Number(0.0)),
    ]));
    command
}

/// `_error` with an information object.
pub(super) fn error(transaction: f64, code: &str, description: &str) -> Command {
    Command::new("_error", transaction, vec![information("error", code, description, None)])
}

/// `_result` with one value.
pub(super) fn result(transaction: f64, value: Amf0) -> Command {
    Command::new("_result", transaction, vec![value])
}

/// `onStatus`, which always has transaction id 0 (RTMP 1.0 §7.2.2).
pub(super) fn status(level: &str, code: &str, description: &str, details: &str) -> Command {
    Command::new("onStatus", 0.0, vec![information(level, code, description, Some(details))])
}

fn information(level: &str, code: &str, description: &str, details: Option<&str>) -> Amf0 {
    let mut properties = vec![
        ("level".to_owned(), Amf0::text(level)),
        ("code".to_owned(), Amf0::text(code)),
        ("description".to_owned(), Amf0::text(description)),
    ];
    if let Some(details) = details {
        properties.push(("details".to_owned(), Amf0::text(details)));
    }
    Amf0::Object(properties)
}
