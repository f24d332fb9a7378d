//! `GET /api/v1/series`: which series there are, and how much of each.

use std::{collections::HashMap, io::Write, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};

use super::{
    context::Edge,
    parameters::Parameters,
    problem::Problem,
    routes::json_response,
    selection::{Selection, write_identity},
    warnings::{add_warnings, warnings},
};
use crate::model::{History, SeriesExtent, SeriesNo, Timestamp, Window};

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let now = edge.now();
    let selection = Selection::read(&parameters)?;
    let window = parameters.closed_window(now, Window::until)?;
    let body = edge
        .read(move |view| answer(&*view, &selection, window, now))
        .await?;
    Ok(json_response(StatusCode::OK, body))
}

/// Series that have samples in the window, as JSON text.
fn answer(
    history: &dyn History,
    selection: &Selection,
    window: Window,
    now: Timestamp,
) -> Result<Vec<u8>, Problem> {
    let mut out = b"{\"series\":[".to_vec();
    let agents = selection.agents(history, window.to, now);
    for agent in &agents {
        let extents: HashMap<SeriesNo, SeriesExtent> = history
            .extents(agent.no, window)?
            .into_iter()
            .map(|extent| (extent.no, extent))
            .collect();
        for info in selection.series(history, agent, window)? {
            let Some(extent) = extents.get(&info.no) else {
                continue;
            };
            if out.last() == Some(&b'}') {
                out.push(b',');
            }
            write_identity(&mut out, agent, &info);
            // Writing to a Vec cannot fail.
            let _ = write!(
                out,
                ",\"first\":\"{}\",\"last\":\"{}\",\"samples\":{}}}",
                extent.first, extent.last, extent.samples
            );
        }
    }
    out.extend_from_slice(b"]}");
    add_warnings(&mut out, &warnings(history, &agents, window));
    Ok(out)
}
