//! The text format of Prometheus.

use std::fmt::{Display, Write};

use crate::snapshot::Snapshot;

/// What a daemon counts and has, as `text/plain; version=0.0.4`.
pub(crate) fn text(of: &Snapshot) -> String {
    let mut text = Text::default();
    let counts = &of.counters;
    for (name, help, value) in [
        ("looks_total", "Times that it looked at the memory that is left.", counts.looks),
        ("shortages_total", "Looks that found too little memory left below a limit.", counts.shortages),
        ("stalls_total", "Looks that found processes stalled for memory.", counts.stalls),
        ("over_budget_total", "Looks that found more unpinned memory than a budget.", counts.over_budget),
        ("purges_total", "Runs of pages that it took away.", counts.purges),
        ("purged_pages_total", "Pages that it took away, in memory or not.", counts.purged_pages),
        ("purged_bytes_total", "Memory that it freed.", counts.freed_bytes),
        ("purge_failures_total", "Purges that failed.", counts.failures),
        ("connections_total", "Connections that were accepted.", counts.connections),
        ("expelled_total", "Connections that it ended, because of what was said or sent.", counts.expelled),
        ("registered_total", "Regions that were registered.", counts.registered),
        ("released_total", "Regions that were released.", counts.released),
        ("refused_total", "Regions that were not taken.", counts.refused),
        (
            "dropped_messages_total",
            "Messages to processes that did not read them in time.",
            counts.dropped_messages,
        ),
    ] {
        text.family(name, "counter", help);
        text.sample(name, &[], value);
    }
    text.family("uptime_seconds", "gauge", "How long it has been running.");
    text.sample("uptime_seconds", &[], of.uptime_seconds);
    text.family("build_info", "gauge", "Its version.");
    text.sample("build_info", &[("version", &of.version)], 1);
    let users = |text: &mut Text, name, help, value: fn(&crate::snapshot::User) -> u64| {
        text.family(name, "gauge", help);
        for user in &of.users {
            text.sample(name, &[("user", &user.user)], value(user));
        }
    };
    users(&mut text, "connections", "Processes that are connected.", |user| user.connections);
    users(&mut text, "regions", "Regions that are registered.", |user| user.regions);
    users(&mut text, "region_bytes", "The sizes of the regions that are registered.", |user| user.size);
    let limits = |text: &mut Text, name, help, value: fn(&crate::snapshot::Limit) -> Option<u64>| {
        text.family(name, "gauge", help);
        for limit in &of.limits {
            if let Some(value) = value(limit) {
                text.sample(name, &[("limit", &limit.name)], value);
            }
        }
    };
    limits(&mut text, "limit_bytes", "Limits on memory.", |limit| Some(limit.limit));
    limits(&mut text, "limit_available_bytes", "What can still be allocated below a limit.", |limit| {
        Some(limit.available)
    });
    limits(&mut text, "limit_reserve_bytes", "What is to stay available below a limit.", |limit| {
        Some(limit.reserve)
    });
    limits(&mut text, "limit_budget_bytes", "Unpinned memory that may stay below a limit.", |limit| {
        limit.budget
    });
    limits(&mut text, "limit_regions", "Registered regions below a limit.", |limit| Some(limit.regions));
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP ashmem_driver_{name} {help}\n# TYPE ashmem_driver_{name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(&value.to_string())))
            .collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("ashmem_driver_{name}{labels} {value}\n"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(line);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Limit, User};

    #[test]
    fn every_sample_has_a_family() {
        let mut snapshot = Snapshot::default();
        snapshot.counters.freed_bytes = 7;
        snapshot.users = vec![User { user: 3, regions: 2, ..User::default() }];
        let name = "/a\"b\\c\nd".to_owned();
        snapshot.limits =
            vec![Limit { name, limit: 9, budget: Some(4), ..Limit::default() }, Limit::default()];
        let text = text(&snapshot);
        for line in [
            "ashmem_driver_purged_bytes_total 7",
            "ashmem_driver_regions{user=\"3\"} 2",
            "ashmem_driver_limit_bytes{limit=\"/a\\\"b\\\\c\\nd\"} 9",
            "ashmem_driver_limit_budget_bytes{limit=\"/a\\\"b\\\\c\\nd\"} 4",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        let mut family = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().expect("a name");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                assert_eq!(name, family);
            }
        }
    }
}
