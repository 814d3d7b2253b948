//! The reference server's metrics, as expectations name them.

use server::RunningServer;

/// The metrics at a time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The expectation it was taken for; none for the one at the end.
    pub expectation: Option<usize>,
    /// The text that `/metrics` would give.
    pub text: String,
}

/// What `/metrics` would give now.
pub fn scrape(server: &RunningServer) -> Sample {
    Sample { expectation: None, text: server.metrics() }
}

/// The sum over every series that has the name and the labels of `wanted`, and perhaps more labels; none where there is none.
pub fn value(text: &str, wanted: &str) -> Option<f64> {
    let (name, labels) = split(wanted)?;
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, number)) = line.rsplit_once(' ') else { continue };
        let Some((its_name, its_labels)) = split(series) else { continue };
        if its_name != name || !labels.iter().all(|label| its_labels.contains(label)) {
            continue;
        }
        if let Ok(number) = number.parse::<f64>() {
            *sum.get_or_insert(0.0) += number;
        }
    }
    sum
}

/// Name and labels of a series.
fn split(series: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let Some((name, rest)) = series.split_once('{') else { return Some((series.trim(), Vec::new())) };
    let mut rest = rest.strip_suffix('}')?;
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        // A quote within a value is escaped.
        let end = after.char_indices().scan(false, |escaped, (i, c)| {
            let ends = c == '"' && !*escaped;
            *escaped = c == '\\' && !*escaped;
            Some((i, ends))
        });
        let end = end.filter(|(_, ends)| *ends).map(|(i, _)| i).next()?;
        labels.push((label.trim_start_matches(',').trim(), after.get(..end)?));
        rest = after.get(end + 1..)?;
    }
    Some((name, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP x y\n# TYPE streamgauge_clients gauge\n\
        streamgauge_clients{protocol=\"rtmp\",role=\"viewer\"} 3\n\
        streamgauge_clients{protocol=\"rtsp\",role=\"viewer\"} 2\n\
        streamgauge_clients{protocol=\"rtmp\",role=\"publisher\"} 1\n\
        streamgauge_stream_viewers{path=\"a,\\\"b\\\"\"} 7\nplain 1.5\n# EOF\n";

    #[test]
    fn series_are_summed_over_labels_that_are_not_named() {
        let of = |wanted| value(TEXT, wanted);
        assert_eq!(of("streamgauge_clients{role=\"viewer\"}"), Some(5.0));
        assert_eq!(of("streamgauge_clients{role=\"viewer\", protocol=\"rtmp\"}"), Some(3.0));
        assert_eq!(of("streamgauge_clients"), Some(6.0));
        assert_eq!(of("plain"), Some(1.5));
        assert_eq!(of("streamgauge_stream_viewers{path=\"a,\\\"b\\\"\"}"), Some(7.0));
        assert_eq!(of("streamgauge_clients{role=\"nobody\"}"), None);
        assert_eq!(of("streamgauge"), None);
    }
}
