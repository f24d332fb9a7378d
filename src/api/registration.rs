//! The body of `POST /api/v1/agents`: every fault is told at once, each with its place.

use serde_json::{Map, Value};
use url::Url;

use super::problem::InputError;
use crate::model::{AgentId, INTERVAL_MS, Limits, Registration, RegistrationSource};

/// Bytes of an endpoint's URL.
const URL_BYTES_MAX: usize = 2_048;
/// Bytes of `info` as compact JSON.
const INFO_BYTES_MAX: usize = 16 << 10;

const KEYS: [&str; 7] = [
    "agent_id",
    "metrics_endpoint",
    "health_endpoint",
    "collection_interval_seconds",
    "pid",
    "labels",
    "info",
];

/// Reads a registration; `null` says the same as nothing.
pub(super) fn read(
    body: &Value,
    limits: &Limits,
) -> Result<(AgentId, Registration), Vec<InputError>> {
    let Some(object) = body.as_object() else {
        return Err(vec![InputError {
            pointer: "#".to_owned(),
            detail: "must be an object".to_owned(),
        }]);
    };
    let mut reader = Reader {
        object,
        errors: Vec::new(),
    };
    for key in object.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        reader.fault(key, format!("is unknown; expected {}", KEYS.join(", ")));
    }
    let id = reader.agent_id();
    let registration = Registration {
        metrics_endpoint: reader.endpoint("metrics_endpoint"),
        health_endpoint: reader.endpoint("health_endpoint"),
        interval_ms: reader.interval_ms(),
        pid: reader.pid(),
        labels: reader.labels(limits),
        info: reader.info(),
        ..Registration::bare(RegistrationSource::Api)
    };
    match id {
        Some(id) if reader.errors.is_empty() => Ok((id, registration)),
        _ => Err(reader.errors),
    }
}

struct Reader<'a> {
    object: &'a Map<String, Value>,
    errors: Vec<InputError>,
}

impl<'a> Reader<'a> {
    /// Notes a fault at a key, or at `key/inner`.
    fn fault(&mut self, key: &str, detail: impl Into<String>) {
        let escaped = key.replace('~', "~0");
        self.errors.push(InputError {
            pointer: format!("#/{escaped}"),
            detail: detail.into(),
        });
    }

    fn given(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn agent_id(&mut self) -> Option<AgentId> {
        let why = match self.given("agent_id") {
            None => "is missing".to_owned(),
            Some(Value::String(text)) => match AgentId::new(text) {
                Ok(id) => return Some(id),
                Err(why) => why.to_string(),
            },
            Some(_) => "must be a text".to_owned(),
        };
        self.fault("agent_id", why);
        None
    }

    fn endpoint(&mut self, key: &str) -> Option<String> {
        let value = self.given(key)?;
        let Some(text) = value.as_str() else {
            self.fault(key, "must be a text");
            return None;
        };
        match check_endpoint(text) {
            Ok(()) => Some(text.to_owned()),
            Err(why) => {
                self.fault(key, why);
                None
            }
        }
    }

    fn interval_ms(&mut self) -> Option<i64> {
        const KEY: &str = "collection_interval_seconds";
        let value = self.given(KEY)?;
        match value
            .as_f64()
            .map(|seconds| (seconds * 1000.0).round() as i64)
        {
            Some(ms) if INTERVAL_MS.contains(&ms) => Some(ms),
            _ => {
                let seconds = |ms: &i64| *ms as f64 / 1000.0;
                let (low, high) = (seconds(INTERVAL_MS.start()), seconds(INTERVAL_MS.end()));
                self.fault(KEY, format!("must be a number from {low} to {high}"));
                None
            }
        }
    }

    fn pid(&mut self) -> Option<u32> {
        let value = self.given("pid")?;
        let pid = value.as_u64().and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.filter(|pid| *pid > 0);
        if pid.is_none() {
            let most = u32::MAX;
            self.fault("pid", format!("must be a whole number from 1 to {most}"));
        }
        pid
    }

    fn labels(&mut self, limits: &Limits) -> Vec<(String, String)> {
        let Some(value) = self.given("labels") else {
            return Vec::new();
        };
        let Some(object) = value.as_object() else {
            self.fault("labels", "must be an object of texts");
            return Vec::new();
        };
        if object.len() > limits.labels_per_series {
            let most = limits.labels_per_series;
            self.fault("labels", format!("has more than {most} labels"));
            return Vec::new();
        }
        let mut labels = Vec::new();
        for (name, value) in object {
            match check_label(name, value, limits) {
                // An empty value says that the label is absent.
                Ok("") => {}
                Ok(text) => labels.push((name.clone(), text.to_owned())),
                Err(why) => {
                    let place = name.replace('~', "~0").replace('/', "~1");
                    self.errors.push(InputError {
                        pointer: format!("#/labels/{place}"),
                        detail: why,
                    });
                }
            }
        }
        labels.sort();
        labels
    }

    fn info(&mut self) -> String {
        let Some(value) = self.given("info") else {
            return "{}".to_owned();
        };
        let text = value.to_string();
        if !value.is_object() {
            self.fault("info", "must be an object");
        } else if text.len() > INFO_BYTES_MAX {
            let bytes = text.len();
            self.fault(
                "info",
                format!("has {bytes} bytes as JSON, at most {INFO_BYTES_MAX} are kept"),
            );
        }
        text
    }
}

fn check_endpoint(text: &str) -> Result<(), String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("has more than {URL_BYTES_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|why| format!("is no URL: {why}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must be an http:// or https:// URL".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#...)".to_owned());
    }
    // Endpoints are shown to everybody who may read.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(())
}

fn check_label<'a>(name: &str, value: &'a Value, limits: &Limits) -> Result<&'a str, String> {
    let text = value.as_str().ok_or("must be a text")?;
    if name.is_empty() {
        return Err("a label's name must not be empty".to_owned());
    }
    if matches!(name, "agent_id" | "instance") || name.starts_with("__") {
        return Err("this label is set by longwatch itself".to_owned());
    }
    if name.len() > limits.label_name_bytes {
        let most = limits.label_name_bytes;
        return Err(format!("its name has more than {most} bytes"));
    }
    if text.len() > limits.label_value_bytes {
        let most = limits.label_value_bytes;
        return Err(format!("has more than {most} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(body: &Value) -> Vec<String> {
        read(body, &Limits::default())
            .unwrap_err()
            .into_iter()
            .map(|e| e.pointer)
            .collect()
    }

    #[test]
    fn a_whole_registration_is_taken() {
        let (id, registration) = read(
            &json!({"agent_id": "a 7/ä", "metrics_endpoint": "http://[::1]:9100/metrics?x=1",
                "health_endpoint": null, "collection_interval_seconds": 1.5, "pid": 42,
                "labels": {"job": "j", "a": "1", "none": ""}, "info": {"b": [1], "a": null}}),
            &Limits::default(),
        )
        .unwrap();
        assert_eq!(id.as_str(), "a 7/ä");
        assert_eq!(
            registration,
            Registration {
                metrics_endpoint: Some("http://[::1]:9100/metrics?x=1".into()),
                interval_ms: Some(1_500),
                pid: Some(42),
                labels: vec![("a".into(), "1".into()), ("job".into(), "j".into())],
                info: r#"{"a":null,"b":[1]}"#.into(),
                ..Registration::bare(RegistrationSource::Api)
            }
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        assert_eq!(faults(&json!([])), ["#"]);
        assert_eq!(faults(&json!({})), ["#/agent_id"]);
        assert_eq!(
            faults(
                &json!({"agent_id": "..", "metric_endpoint": "http://x/", "pid": 0,
                "collection_interval_seconds": "30", "labels": {"a/b": 1, "": "x"},
                "info": [], "health_endpoint": 3})
            ),
            [
                "#/metric_endpoint",
                "#/agent_id",
                "#/health_endpoint",
                "#/collection_interval_seconds",
                "#/pid",
                "#/labels/",
                "#/labels/a~1b",
                "#/info"
            ]
        );
        for interval in [
            json!(0),
            json!(-1),
            json!(0.04),
            json!(604_801),
            json!(true),
        ] {
            let body = json!({"agent_id": "a", "collection_interval_seconds": interval});
            assert_eq!(faults(&body), ["#/collection_interval_seconds"]);
        }
        let long = "x".repeat(INFO_BYTES_MAX);
        assert_eq!(
            faults(&json!({"agent_id": "a", "info": {"x": long}})),
            ["#/info"]
        );
    }

    #[test]
    fn endpoints_are_plain_http_urls() {
        for bad in [
            "",
            "localhost:9100/metrics",
            "ftp://x/",
            "http://",
            "http://x/#top",
            "http://user:pw@x/",
            "http://user@x/",
            "/metrics",
            "file:///etc/passwd",
        ] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
        assert!(check_endpoint(&format!("http://x/{}", "a".repeat(URL_BYTES_MAX))).is_err());
        assert!(check_endpoint("https://x.example:8443/metrics?format=text").is_ok());
    }
}
