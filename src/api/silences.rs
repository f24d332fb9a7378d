//! Silences: list, add, expire.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{body::Payload, context::Edge, problem::Problem, texts::Texts};
use crate::{
    model::{MatchOperator, Matcher, Silence, Timestamp, parse_duration_ms},
    store::{Change, Changed},
};

const MATCHERS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 4_096;
const STARTS: [&str; 2] = ["startsAt", "starts_at"];
const ENDS: [&str; 2] = ["endsAt", "ends_at"];
const CREATORS: [&str; 3] = ["createdBy", "created_by", "by"];

pub(super) async fn list(State(edge): State<Arc<Edge>>) -> Result<Json<Value>, Problem> {
    let now = edge.now();
    edge.read(move |view| {
        let silences: Vec<Value> = view
            .book()
            .silences
            .values()
            .map(|silence| silence_json(silence, now))
            .collect();
        Ok(Json(json!({ "silences": silences })))
    })
    .await
}

pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let body = payload.json().await?;
    let silence = read(&body, edge.now())?;
    let id = silence.id.clone();
    let changed = edge
        .context
        .store
        .alerting(Change::PutSilence(silence))
        .await?;
    let status = match changed {
        Changed::Created => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(json!({ "id": id }))).into_response())
}

pub(super) async fn expire(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let change = Change::ExpireSilence { id: id.clone() };
    match edge.context.store.alerting(change).await? {
        Changed::Unknown => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no silence `{id}`"),
        )),
        Changed::Conflict(why) => Err(Problem::new(StatusCode::CONFLICT, why)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Reads a silence in this API's or Alertmanager's words.
pub(super) fn read(body: &Value, now: Timestamp) -> Result<Silence, Problem> {
    let mut texts = Texts::of(body)?;
    texts.only(&[
        "id",
        "matchers",
        "startsAt",
        "starts_at",
        "endsAt",
        "ends_at",
        "duration",
        "createdBy",
        "created_by",
        "by",
        "comment",
        "annotations",
    ]);
    let id = texts.optional("id", 128).filter(|id| !id.is_empty());
    let matchers = matchers(&mut texts);
    let starts_at = texts.time(&STARTS, now).unwrap_or(now);
    let ends_at = match (texts.any(&ENDS), texts.optional("duration", 64)) {
        (Some(_), _) => texts.time(&ENDS, now),
        (None, Some(duration)) => match parse_duration_ms(&duration) {
            Ok(ms) => Some(starts_at.plus_millis(ms)),
            Err(why) => {
                texts.fault("duration", why.to_string());
                None
            }
        },
        (None, None) => {
            texts.fault("endsAt", "is missing: a silence must end");
            None
        }
    };
    if ends_at.is_some_and(|end| end <= starts_at || end <= now) {
        texts.fault("endsAt", "must lie after the start and after now");
    }
    let created_by = texts.text(&CREATORS, TEXT_BYTES_MAX);
    let comment = texts.optional("comment", TEXT_BYTES_MAX);
    texts.finish()?;
    Ok(Silence {
        id: id.unwrap_or_else(new_id),
        matchers,
        starts_at,
        ends_at: ends_at.unwrap_or(now),
        created_by: created_by.unwrap_or_else(|| "api".to_owned()),
        comment: comment.unwrap_or_default(),
        created_at: now,
        updated_at: now,
    })
}

fn matchers(texts: &mut Texts<'_>) -> Vec<Matcher> {
    let Some((_, Value::Array(given))) = texts.any(&["matchers"]) else {
        texts.fault("matchers", "must be a list of at least one matcher");
        return Vec::new();
    };
    if given.is_empty() || given.len() > MATCHERS_MAX {
        texts.fault(
            "matchers",
            format!("must hold 1 to {MATCHERS_MAX} matchers"),
        );
    }
    let mut matchers = Vec::new();
    for (i, value) in given.iter().enumerate() {
        match matcher(value) {
            Ok(matcher) => matchers.push(matcher),
            Err(why) => texts.fault("matchers", format!("matcher {i}: {why}")),
        }
    }
    // One that also fits alerts without any of its labels would silence everything by mistake.
    if !matchers.is_empty() && matchers.iter().all(|m| m.matches("")) {
        texts.fault(
            "matchers",
            "at least one matcher must demand a value that is not empty",
        );
    }
    matchers
}

fn matcher(value: &Value) -> Result<Matcher, String> {
    if let Value::String(text) = value {
        return Matcher::parse(text).map_err(|e| e.to_string());
    }
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let switch = |key: &str, default| match value.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(format!("`{key}` must be true or false")),
    };
    let name = text("name").ok_or("`name` is missing")?;
    let pattern = text("value").ok_or("`value` is missing")?;
    let operator = MatchOperator::of_switches(switch("isEqual", true)?, switch("isRegex", false)?);
    Matcher::new(name, operator, pattern).map_err(|e| e.to_string())
}

/// A new random id in the form of a UUID of version 4.
fn new_id() -> String {
    // The hasher's keys are random; two of them make 128 bits that nobody guesses.
    let random = [RandomState::new(), RandomState::new()].map(|state| state.hash_one(0));
    let bits = (u128::from(random[0]) << 64) | u128::from(random[1]);
    let versioned = (bits & !(0xf << 76) | (0x4 << 76)) & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{versioned:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Matchers as Alertmanager has them.
pub(super) fn matchers_json(matchers: &[Matcher]) -> Value {
    let matchers = matchers.iter().map(|m| {
        let operator = m.operator();
        json!({"name": m.name(), "value": m.value(), "isRegex": operator.is_regex(),
            "isEqual": operator.is_equal()})
    });
    matchers.collect()
}

/// A silence in Alertmanager's words.
pub(super) fn silence_json(silence: &Silence, now: Timestamp) -> Value {
    json!({
        "id": silence.id,
        "status": {"state": silence.state(now)},
        "matchers": matchers_json(&silence.matchers),
        "startsAt": silence.starts_at.to_rfc3339(),
        "endsAt": silence.ends_at.to_rfc3339(),
        "createdBy": silence.created_by,
        "comment": silence.comment,
        "createdAt": silence.created_at.to_rfc3339(),
        "updatedAt": silence.updated_at.to_rfc3339(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn both_forms_of_matchers_and_of_times_are_taken() {
        let body = json!({"matchers": ["agent_id=a7", {"name": "severity", "value": "crit.*", "isRegex": true}],
            "duration": "2h", "by": "me", "comment": "c"});
        let silence = read(&body, NOW).unwrap();
        let shown: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["agent_id=\"a7\"", "severity=~\"crit.*\""]);
        assert_eq!(silence.ends_at, NOW.plus_millis(7_200_000));
        assert_eq!(silence.id.len(), 36);
        assert_eq!(&silence.id[14..15], "4");
    }

    #[test]
    fn what_would_silence_everything_or_never_ends_is_refused() {
        for (body, pointer) in [
            (json!({"matchers": [], "duration": "1h"}), "#/matchers"),
            (
                json!({"matchers": ["a=~.*"], "duration": "1h"}),
                "#/matchers",
            ),
            (
                json!({"matchers": ["a=~("], "duration": "1h"}),
                "#/matchers",
            ),
            (json!({"matchers": ["a=b"]}), "#/endsAt"),
            (json!({"matchers": ["a=b"], "endsAt": "-1h"}), "#/endsAt"),
            (
                json!({"matchers": ["a=b"], "duration": "1h", "x": 1}),
                "#/x",
            ),
        ] {
            let problem = read(&body, NOW).unwrap_err();
            assert_eq!(
                problem.errors[0].pointer, pointer,
                "{body}: {:?}",
                problem.errors
            );
        }
    }
}
