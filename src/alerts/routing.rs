//! Who is told of an alert, how alerts are grouped, and what keeps them from being told: Alertmanager's routes,
//! inhibition and mute times.

use std::sync::Arc;

use super::maintenance::Maintenance;
use crate::model::{Alert, AlertBook, LabelPairs, Matcher, Timestamp};

/// Stands in `group_by` for all labels.
pub const ALL_LABELS: &str = "...";
/// Name of the route that takes what no other takes.
pub const DEFAULT_ROUTE: &str = "default";

/// Whom to tell when nobody acknowledges in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// So long after it fired; milliseconds.
    pub after_ms: i64,
    /// Names of channels.
    pub channels: Vec<String>,
}

/// Which alerts go where, and how they are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name, unique.
    pub name: String,
    /// Alerts that fit all of them.
    pub matchers: Vec<Matcher>,
    /// Names of channels.
    pub channels: Vec<String>,
    /// Labels by which alerts are grouped; [`ALL_LABELS`] for all.
    pub group_by: Vec<String>,
    /// A new group waits so long for more alerts; milliseconds.
    pub group_wait_ms: i64,
    /// A group is told of changes at most so often; milliseconds.
    pub group_interval_ms: i64,
    /// What still fires is told again so often; milliseconds.
    pub repeat_interval_ms: i64,
    /// Whether later routes are tried, too.
    pub continues: bool,
    /// Whom to tell when nobody acknowledges.
    pub escalation: Option<Escalation>,
}

impl Route {
    /// The route that takes everything: to these channels, by alert name.
    pub fn default_to(channels: Vec<String>) -> Self {
        Self {
            name: DEFAULT_ROUTE.to_owned(),
            matchers: Vec::new(),
            channels,
            group_by: vec!["alertname".to_owned()],
            group_wait_ms: 5_000,
            group_interval_ms: 300_000,
            repeat_interval_ms: 4 * 3_600_000,
            continues: false,
            escalation: None,
        }
    }

    /// Labels by which an alert with such labels is grouped.
    pub fn group_labels(&self, labels: &[(String, String)]) -> LabelPairs {
        let by_all = self.group_by.iter().any(|name| name == ALL_LABELS);
        let grouped = labels
            .iter()
            .filter(|(name, _)| by_all || self.group_by.contains(name));
        grouped.cloned().collect()
    }

    /// Identity of the group of an alert with such labels.
    pub fn group_key(&self, labels: &[(String, String)]) -> String {
        let labels = self.group_labels(labels);
        let shown: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        format!("{}:{{{}}}", self.name, shown.join(","))
    }
}

/// An alert that fires keeps others from being told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibition {
    /// Alerts that keep.
    pub source: Vec<Matcher>,
    /// Alerts that are kept.
    pub target: Vec<Matcher>,
    /// Labels that must be equal in both; a missing one is empty.
    pub equal: Vec<String>,
}

impl Inhibition {
    fn inhibits(&self, source: &Alert, target: &Alert) -> bool {
        let fits =
            |matchers: &[Matcher], alert: &Alert| matchers.iter().all(|m| m.fits(&alert.labels));
        let value = |alert: &Alert, name: &str| alert.label(name).unwrap_or("").to_owned();
        fits(&self.target, target)
            && fits(&self.source, source)
            // An alert that fits both sides is not kept by another such one.
            && !(fits(&self.source, target) && fits(&self.target, source))
            && self.equal.iter().all(|name| value(source, name) == value(target, name))
    }
}

/// The configuration of routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Routes in order; the last one takes everything.
    pub routes: Vec<Route>,
    /// Inhibitions.
    pub inhibitions: Vec<Inhibition>,
    /// Maintenance windows.
    pub maintenance: Vec<Maintenance>,
    /// Channels that are not told of what resolved.
    pub without_resolved: Vec<String>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            routes: vec![Route::default_to(vec!["log".to_owned()])],
            inhibitions: Vec::new(),
            maintenance: Vec::new(),
            without_resolved: Vec::new(),
        }
    }
}

impl Routing {
    /// Routes that an alert with such labels takes.
    pub fn routes_of(&self, labels: &[(String, String)]) -> Vec<&Route> {
        let mut taken = Vec::new();
        for route in &self.routes {
            if route.matchers.iter().all(|m| m.fits(labels)) {
                taken.push(route);
                if !route.continues {
                    break;
                }
            }
        }
        taken
    }

    /// A route by name.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.name == name)
    }

    /// For each inhibition, the alerts that fire and fit its source.
    pub fn inhibitors(&self, book: &AlertBook) -> Vec<Vec<Arc<Alert>>> {
        let firing = || {
            book.open
                .values()
                .flatten()
                .filter(|a| a.fired_at.is_some())
        };
        let sources = |inhibition: &Inhibition| {
            let fits =
                |alert: &&Arc<Alert>| inhibition.source.iter().all(|m| m.fits(&alert.labels));
            firing().filter(fits).cloned().collect()
        };
        self.inhibitions.iter().map(sources).collect()
    }

    /// What keeps an alert from being told now, for people; in Alertmanager's order. `inhibitors` are those of
    /// [`Self::inhibitors`].
    pub fn muted_by(
        &self,
        alert: &Alert,
        inhibitors: &[Vec<Arc<Alert>>],
        book: &AlertBook,
        at: Timestamp,
    ) -> Option<String> {
        if let Some(source) = self.inhibitor(alert, inhibitors).next() {
            return Some(format!(
                "inhibited by alert {} ({})",
                source.occurrence.0, source.alert_id
            ));
        }
        let in_window = |window: &&Maintenance| window.mutes(&alert.labels, at);
        if let Some(window) = self.maintenance.iter().find(in_window) {
            return Some(format!("maintenance window {}", window.name));
        }
        let silence = book
            .silences
            .values()
            .find(|s| s.silences(&alert.labels, at));
        silence.map(|s| format!("silence {} by {}: {}", s.id, s.created_by, s.comment))
    }

    fn inhibitor<'a>(
        &'a self,
        alert: &'a Alert,
        inhibitors: &'a [Vec<Arc<Alert>>],
    ) -> impl Iterator<Item = &'a Arc<Alert>> {
        let pairs = self.inhibitions.iter().zip(inhibitors);
        pairs.flat_map(move |(inhibition, sources)| {
            sources.iter().filter(move |source| {
                source.occurrence != alert.occurrence && inhibition.inhibits(source, alert)
            })
        })
    }

    /// Ids of silences and alerts that keep an alert from being told, as the Alertmanager API lists them.
    pub fn muting_ids(
        &self,
        alert: &Alert,
        inhibitors: &[Vec<Arc<Alert>>],
        book: &AlertBook,
        at: Timestamp,
    ) -> (Vec<String>, Vec<String>) {
        let silences = book
            .silences
            .values()
            .filter(|s| s.silences(&alert.labels, at));
        let inhibitors = self.inhibitor(alert, inhibitors);
        (
            silences.map(|s| s.id.clone()).collect(),
            inhibitors.map(|a| super::fingerprint(&a.labels)).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentNo, OccurrenceNo, Severity};

    const AT: Timestamp = Timestamp::from_millis(1_000);

    fn labels(text: &str) -> LabelPairs {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    fn alert(no: u64, text: &str) -> Alert {
        Alert {
            labels: labels(text),
            ..Alert::fired(
                OccurrenceNo(no),
                AgentNo(1),
                format!("r{no}"),
                "r",
                Severity::Info,
                AT,
            )
        }
    }

    fn matchers(texts: &[&str]) -> Vec<Matcher> {
        texts.iter().map(|t| Matcher::parse(t).unwrap()).collect()
    }

    #[test]
    fn the_first_route_that_fits_is_taken_unless_it_continues() {
        let route = |name: &str, texts: &[&str], continues| Route {
            name: name.to_owned(),
            matchers: matchers(texts),
            continues,
            ..Route::default_to(vec![])
        };
        let routing = Routing {
            routes: vec![
                route("audit", &["severity=~critical|emergency"], true),
                route("db", &["team=db"], false),
                route(DEFAULT_ROUTE, &[], false),
            ],
            ..Routing::default()
        };
        let taken = |text: &str| -> Vec<String> {
            let labels = labels(text);
            routing
                .routes_of(&labels)
                .iter()
                .map(|r| r.name.clone())
                .collect()
        };
        assert_eq!(taken("severity=critical,team=db"), ["audit", "db"]);
        assert_eq!(taken("severity=critical"), ["audit", "default"]);
        assert_eq!(taken("severity=info,team=db"), ["db"]);
    }

    #[test]
    fn groups_share_the_labels_they_are_made_by() {
        let mut route = Route::default_to(vec![]);
        route.group_by = vec!["alertname".into(), "team".into()];
        let key = |text: &str| route.group_key(&labels(text));
        assert_eq!(key("agent_id=a,alertname=x"), "default:{alertname=\"x\"}");
        assert_eq!(key("agent_id=b,alertname=x"), key("agent_id=a,alertname=x"));
        assert_ne!(key("alertname=x,team=t"), key("alertname=x"));
        route.group_by = vec![ALL_LABELS.into()];
        assert_eq!(route.group_labels(&labels("a=1,b=2")), labels("a=1,b=2"));
    }

    #[test]
    fn a_firing_alert_inhibits_others_with_equal_labels_but_not_its_like() {
        let routing = Routing {
            inhibitions: vec![Inhibition {
                source: matchers(&["severity=critical"]),
                target: matchers(&["severity=~warning|critical"]),
                equal: vec!["agent_id".into(), "zone".into()],
            }],
            ..Routing::default()
        };
        let mut book = AlertBook::default();
        let source = alert(1, "agent_id=a,severity=critical");
        book.put_open(&Arc::new(source.clone()));
        let muted = |alert: &Alert, book: &AlertBook| {
            let inhibitors = routing.inhibitors(book);
            routing.muted_by(alert, &inhibitors, book, AT).is_some()
        };
        assert!(muted(&alert(2, "agent_id=a,severity=warning"), &book));
        assert!(!muted(&alert(2, "agent_id=b,severity=warning"), &book));
        assert!(!muted(
            &alert(2, "agent_id=a,severity=warning,zone=z"),
            &book
        ));
        // It fits both sides, and so does the other.
        assert!(!muted(&alert(3, "agent_id=a,severity=critical"), &book));
        let over = Alert {
            resolved_at: Some(AT),
            ..source
        };
        book.put_open(&Arc::new(over));
        assert!(!muted(&alert(2, "agent_id=a,severity=warning"), &book));
    }
}
