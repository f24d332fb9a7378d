//! Where questions about traces go: a server or a file.

use url::form_urlencoded;

use crate::{
    api::ask_traces,
    cli::{
        failure::{Failure, Status},
        server::Server,
        source::SourceArgs,
        window::open,
    },
};

/// A question: the path after `/api/v1`, and its parameters.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    path: Vec<&'a str>,
    query: Vec<(String, String)>,
}

impl<'a> Question<'a> {
    pub(super) fn new(path: &[&'a str]) -> Self {
        Self {
            path: path.to_vec(),
            query: Vec::new(),
        }
    }

    /// Adds a parameter.
    pub(super) fn with(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a parameter that may be left out.
    pub(super) fn with_some(self, name: &str, value: Option<&impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl SourceArgs {
    /// The answer to a question.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, Failure> {
        let Some(db) = &self.db else {
            let server = Server::new(&self.url, &self.token)?;
            let mut path = vec!["api", "v1"];
            path.extend(&question.path);
            let mut url = server.at(&path);
            if !question.query.is_empty() {
                url.query_pairs_mut().extend_pairs(&question.query);
            }
            let answer = server.send(server.client().get(url)).await?;
            return server.body(answer).await;
        };
        let (view, now) = open(db)?;
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&question.query)
            .finish();
        ask_traces(&*view, now, &question.path, &query).map_err(|error| {
            let status = if error.status == 400 {
                Status::Usage
            } else {
                Status::NotHeld
            };
            Failure::new(status, format!("{}: {error}", db.display()))
        })
    }
}
