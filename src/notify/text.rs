//! Texts of a notification for people. What alerts say is chosen by others: agents name metrics and labels, and
//! their values get into descriptions.

use crate::model::{Notification, NotifiedAlert};

/// Longest text of an alert that is shown in one place, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 2_000;
/// Longest title, in bytes.
const TITLE_BYTES_MAX: usize = 300;

/// One line without characters that do something when they are shown, at most `max` bytes of it and an ellipsis:
/// control characters and breaks become blanks, and what turns the direction of writing is left out (Unicode TR 36).
pub(super) fn inert(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = match c {
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => continue,
            '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        };
        if line.len() + c.len_utf8() > max {
            line.push('…');
            break;
        }
        line.push(c);
    }
    line
}

/// What is told, in a line: how many fire, and what they share.
pub(super) fn title(notification: &Notification) -> String {
    let firing = notification
        .alerts
        .iter()
        .filter(|alert| alert.resolved_at.is_none())
        .count();
    let state = match (firing, notification.is_escalation) {
        (0, _) => "RESOLVED".to_owned(),
        (n, false) => format!("FIRING:{n}"),
        (n, true) => format!("ESCALATED:{n}"),
    };
    let shared: Vec<&str> = notification
        .group_labels
        .iter()
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
        .collect();
    let shared = match (shared.is_empty(), notification.alerts.first()) {
        (false, _) => shared.join(" "),
        (true, Some(alert)) => name(alert).to_owned(),
        (true, None) => String::new(),
    };
    inert(&format!("[{state}] {shared}"), TITLE_BYTES_MAX)
}

/// Name of an alert.
pub(super) fn name(alert: &NotifiedAlert) -> &str {
    let found = alert.labels.iter().find(|(name, _)| name == "alertname");
    found.map_or(alert.alert_id.as_str(), |(_, value)| value.as_str())
}

/// `firing` or `resolved`.
pub(super) const fn status(alert: &NotifiedAlert) -> &'static str {
    if alert.resolved_at.is_some() {
        "resolved"
    } else {
        "firing"
    }
}

/// Where an alert is shown; empty when nobody said where people reach longwatch.
pub(super) fn link(external_url: &str, alert: &NotifiedAlert) -> String {
    if external_url.is_empty() {
        return String::new();
    }
    format!("{external_url}/api/v1/alerts/{}", alert.occurrence.0)
}

/// A line about alerts for which there was no room; `None` when there was.
pub(super) fn truncated(count: u64) -> Option<String> {
    match count {
        0 => None,
        1 => Some("One more alert is left out.".to_owned()),
        n => Some(format!("{n} more alerts are left out.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fake::{firing, notification};

    #[test]
    fn texts_are_inert() {
        assert_eq!(inert("a\r\nb\tc\u{1b}[31m\u{2028}d", 100), "a  b c [31m d");
        assert_eq!(inert("x\u{202e}gpj.exe\u{200b}\u{2066}", 100), "xgpj.exe");
        assert_eq!(inert("ääää", 5), "ää…");
        assert_eq!(inert("ää", 4), "ää");
    }

    #[test]
    fn titles_say_what_fires() {
        let mut told = notification("g", vec![firing(1), firing(2)]);
        assert_eq!(title(&told), "[FIRING:2] HighCpu");
        told.is_escalation = true;
        assert_eq!(title(&told), "[ESCALATED:2] HighCpu");
        for alert in &mut told.alerts {
            alert.resolved_at = Some(alert.fired_at);
        }
        told.group_labels = vec![
            ("a".to_owned(), "x\r\nBcc: y".to_owned()),
            ("b".to_owned(), String::new()),
        ];
        assert_eq!(title(&told), "[RESOLVED] x  Bcc: y");
        told.group_labels.clear();
        assert_eq!(title(&told), "[RESOLVED] HighCpu");
    }
}
