//! Status of an agent at a moment, from what is recorded about it.

use crate::model::{
    AgentNo, AgentStatus, History, Policy, ReadError, Registration, Sample, Timestamp, names,
};

/// A first push registers its agent: the contact carries the time of its arrival, the registration that of
/// its commit, which may be some seconds later. In milliseconds.
const REGISTERED_LATE_MS: i64 = 30_000;

/// What the file says about an agent at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StatusInputs {
    /// Last sample of `up`.
    pub last_up: Option<Sample>,
    /// Last sample of `up` that was 1.
    pub last_up_ok: Option<Timestamp>,
    /// Last sample of `health_probe_up`.
    pub last_probe: Option<Sample>,
    /// Last sample of `agent_contact`.
    pub last_contact: Option<Timestamp>,
    /// Start of the server's run that the moment lies in, if it lies in one.
    pub run_start: Option<Timestamp>,
    /// When the registration that holds began: contacts well before it do not count.
    pub registered_at: Option<Timestamp>,
}

/// Gathers what the file says about an agent at a moment; `run_start` is left to the caller.
///
/// Only series without labels count: they are the ones that longwatch records. A target that passes
/// on other targets' `up{...}` does not speak of itself.
pub fn read_status_inputs(
    history: &dyn History,
    agent: AgentNo,
    at: Timestamp,
) -> Result<StatusInputs, ReadError> {
    let last = |name: &str, wanted: Option<f64>| -> Result<Option<Sample>, ReadError> {
        let series = history.series(agent, Some(name));
        match series.iter().find(|s| s.key.labels().next().is_none()) {
            Some(series) => history.last_sample(agent, series.no, at, wanted),
            None => Ok(None),
        }
    };
    let last_up = last(names::UP, None)?;
    let last_up_ok = match last_up {
        Some(up) if up.value == 1.0 => Some(up),
        Some(_) => last(names::UP, Some(1.0))?,
        None => None,
    };
    Ok(StatusInputs {
        last_up,
        last_up_ok: last_up_ok.map(|s| s.time),
        last_probe: last(names::HEALTH_PROBE_UP, None)?,
        last_contact: last(names::AGENT_CONTACT, None)?.map(|s| s.time),
        run_start: None,
        registered_at: None,
    })
}

/// Status and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The status.
    pub status: AgentStatus,
    /// Time of the last recorded `up` = 1.
    pub last_heartbeat: Option<Timestamp>,
    /// Time of the last contact of the present registration.
    pub last_contact: Option<Timestamp>,
}

/// Judges the status at a moment:
/// `unknown` without any `up` yet; `unhealthy` if the last `up` or the last probe is 0; `stale` if the
/// last contact is older than some of the agent's intervals; else `active`. Within one interval after
/// the server's start nothing is stale.
pub fn judge_status(
    inputs: &StatusInputs,
    registration: &Registration,
    policy: &Policy,
    at: Timestamp,
) -> Verdict {
    let last_heartbeat = inputs.last_up_ok;
    let earliest = inputs
        .registered_at
        .map(|t| t.plus_millis(-REGISTERED_LATE_MS));
    let counts = |time: Timestamp| earliest.is_none_or(|e| time >= e);
    let failed = |sample: Option<Sample>| sample.is_some_and(|s| s.value == 0.0 && counts(s.time));
    let interval_ms = registration.interval_ms.unwrap_or(policy.interval_ms);
    let in_grace = inputs
        .run_start
        .is_some_and(|start| at.since(start) < interval_ms);
    let last_contact = [last_heartbeat, inputs.last_contact]
        .into_iter()
        .flatten()
        .filter(|t| counts(*t))
        .max();
    let is_reached = inputs.last_up.is_some_and(|up| counts(up.time));
    let status = if !is_reached {
        AgentStatus::Unknown
    } else if failed(inputs.last_up) || failed(inputs.last_probe) {
        AgentStatus::Unhealthy
    } else if last_contact.is_none_or(|t| at.since(t) > policy.stale_after_ms(registration))
        && !in_grace
    {
        AgentStatus::Stale
    } else {
        AgentStatus::Active
    };
    Verdict {
        status,
        last_heartbeat,
        last_contact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RegistrationSource;

    #[test]
    fn statuses_follow_the_contract() {
        let at = Timestamp::from_millis(1_000_000);
        let mut registration = Registration::bare(RegistrationSource::Api);
        registration.metrics_endpoint = Some("http://a/metrics".into());
        let policy = Policy::default();
        let sample = |ago: i64, value| {
            Some(Sample {
                time: at.plus_millis(-ago),
                value,
            })
        };
        let check = |inputs: StatusInputs| judge_status(&inputs, &registration, &policy, at).status;
        let none = StatusInputs::default();
        assert_eq!(check(none), AgentStatus::Unknown);
        let up = StatusInputs {
            last_up: sample(5, 1.0),
            last_up_ok: Some(at.plus_millis(-5)),
            ..none
        };
        assert_eq!(check(up), AgentStatus::Active);
        assert_eq!(
            check(StatusInputs {
                last_up: sample(1, 0.0),
                ..up
            }),
            AgentStatus::Unhealthy
        );
        assert_eq!(
            check(StatusInputs {
                last_probe: sample(1, 0.0),
                ..up
            }),
            AgentStatus::Unhealthy
        );
        let old = StatusInputs {
            last_up: sample(90_001, 1.0),
            last_up_ok: Some(at.plus_millis(-90_001)),
            ..none
        };
        assert_eq!(check(old), AgentStatus::Stale);
        assert_eq!(
            check(StatusInputs {
                last_contact: Some(at),
                ..old
            }),
            AgentStatus::Active
        );
        let just_started = StatusInputs {
            run_start: Some(at.plus_millis(-1_000)),
            ..old
        };
        assert_eq!(check(just_started), AgentStatus::Active);
    }
}
