//! A scenario as a list of what is due when.

use std::time::Duration;

use super::actor::Actor;
use crate::script::{Act, Net, Scenario, Want};

/// Something that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// Since the target was ready.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What can be due.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A client does something: its place among the actors.
    Act(usize, Act),
    /// A client's path changes.
    Net(usize, Net),
    /// A metric is looked at, for an expectation.
    Sample(usize),
}

/// Everybody who comes, one for each of a crowd, in the order of the scenario.
pub fn actors(scenario: &Scenario) -> Vec<Actor> {
    let mut actors = Vec::new();
    for (i, client) in scenario.clients.iter().enumerate() {
        for number in 1..=client.count {
            let name = match client.count {
                1 => client.name.clone(),
                _ => format!("{}-{number}", client.name),
            };
            actors.push(Actor::new(i, name, client.net));
        }
    }
    actors
}

/// The steps one by one, crowds spread over their ramps, in the order of time.
pub fn due(scenario: &Scenario) -> Vec<Due> {
    let mut all = Vec::new();
    for step in &scenario.steps {
        for client in &step.who {
            let (crowd, first) = crowd(scenario, *client);
            for number in 0..crowd {
                let ramp = scenario.clients.get(*client).map_or(Duration::ZERO, |c| c.ramp);
                let late = match step.act {
                    Some(Act::Publish | Act::Play) => ramp * number / crowd,
                    _ => Duration::ZERO,
                };
                let (at, actor) = (step.at + late, first + number as usize);
                // The path first: it is there when a client comes.
                all.extend(step.net.map(|net| Due { at, what: What::Net(actor, net) }));
                all.extend(step.act.map(|act| Due { at, what: What::Act(actor, act) }));
            }
        }
    }
    for (i, expect) in scenario.expect.iter().enumerate() {
        if let Want::Metric { at: Some(at), .. } = expect.want {
            all.push(Due { at, what: What::Sample(i) });
        }
    }
    all.sort_by_key(|due| due.at);
    all
}

/// How many a client is, and the place of the first among the actors.
fn crowd(scenario: &Scenario, client: usize) -> (u32, usize) {
    let before = scenario.clients.iter().take(client).map(|c| c.count as usize).sum();
    (scenario.clients.get(client).map_or(0, |c| c.count), before)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn crowds_come_one_after_another_and_leave_together() {
        let text = r#"
            title = "x"
            clients.cam = { speaks = "rtmp", role = "publisher", path = "a", for = "9s" }
            clients.crowd = { speaks = "rtmp", path = "a", count = 4, ramp = "2s" }
            steps = [
                { at = "1s", who = "crowd", do = "play", net = { delay = "5ms" } },
                { at = "0s", who = "cam", do = "publish" },
                { at = "5s", who = "crowd", do = "stop" },
            ]
            expect = [{ metric = "x", value = 1, at = "4s" }]
        "#;
        let scenario = Scenario::parse(text, "x", Path::new("")).unwrap();
        let names: Vec<_> = actors(&scenario).into_iter().map(|a| a.name).collect();
        assert_eq!(names, ["cam", "crowd-1", "crowd-2", "crowd-3", "crowd-4"]);
        let due = due(&scenario);
        let acts: Vec<_> = due
            .iter()
            .filter_map(
                |d| if let What::Act(i, act) = d.what { Some((d.at.as_millis(), i, act)) } else { None },
            )
            .collect();
        let want = [
            (0, 0, Act::Publish),
            (1000, 1, Act::Play),
            (1500, 2, Act::Play),
            (2000, 3, Act::Play),
            (2500, 4, Act::Play),
            (5000, 1, Act::Stop),
        ];
        assert_eq!(acts[..6], want);
        assert!(matches!(due[1].what, What::Net(1, _)), "{due:?}");
        assert!(due.iter().any(|d| d.what == What::Sample(0) && d.at.as_secs() == 4));
        assert_eq!(scenario.length(), Duration::from_secs(9));
    }
}
