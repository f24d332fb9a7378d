//! What an answer lacks, told beside it: damaged blocks are left out, and never silently.

use crate::model::{Agent, History, Window};

/// Warnings of one answer; of more it says how many there are.
const WARNINGS_MAX: usize = 20;

/// What the answers about these agents lacked of the window. Asked after the questions themselves.
pub(super) fn warnings<'a>(
    history: &dyn History,
    agents: impl IntoIterator<Item = &'a Agent>,
    window: Window,
) -> Vec<String> {
    let mut told = Vec::new();
    let mut more = 0;
    for agent in agents {
        for lack in history.unreadable(agent.no, window) {
            if told.len() == WARNINGS_MAX {
                more += 1;
                continue;
            }
            told.push(format!(
                "agent `{}`: what there is from {} to {} may be missing: {}",
                agent.id, lack.first, lack.last, lack.reason
            ));
        }
    }
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

/// Adds `warnings` to a JSON object, when there are any.
pub(super) fn add_warnings(object: &mut Vec<u8>, warnings: &[String]) {
    if warnings.is_empty() || object.pop_if(|last| *last == b'}').is_none() {
        return;
    }
    let is_empty = object.last() == Some(&b'{');
    object.extend_from_slice(if is_empty {
        b"\"warnings\":"
    } else {
        b",\"warnings\":"
    });
    // Texts always serialise, and writing to a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *object, warnings);
    object.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_one() {
        let add = |object: &str, warnings: &[String]| {
            let mut object = object.as_bytes().to_vec();
            add_warnings(&mut object, warnings);
            String::from_utf8(object).unwrap()
        };
        let one = ["a \"b\"".to_owned()];
        assert_eq!(add("{\"x\":1}", &[]), "{\"x\":1}");
        assert_eq!(add("{\"x\":1}", &one), r#"{"x":1,"warnings":["a \"b\""]}"#);
        assert_eq!(add("{}", &one), r#"{"warnings":["a \"b\""]}"#);
    }
}
