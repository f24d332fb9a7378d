//! `GET /openapi.json`: the description of this API, kept as a document beside the code; a test holds it
//! against the table of routes.

use axum::{http::StatusCode, response::Response};

use super::routes::json_response;

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn show() -> Response {
    json_response(StatusCode::OK, DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::{parameters::ANY_OTHER, routes::table};
    use super::*;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn document_and_routes_agree() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let methods = ["get", "post", "put", "delete", "patch"];
            for (method, operation) in item.as_object().unwrap() {
                if methods.contains(&method.as_str()) {
                    let parameters: BTreeSet<String> = operation["parameters"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|p| resolve(&document, p))
                        .filter(|p| p["in"] == "query")
                        .map(|p| p["name"].as_str().unwrap().to_owned())
                        .collect();
                    described.insert((path.clone(), method.to_uppercase(), parameters));
                }
            }
        }
        let routed: BTreeSet<_> = table()
            .iter()
            .map(|route| {
                let parameters: BTreeSet<String> = route
                    .parameters
                    .iter()
                    .filter(|p| **p != ANY_OTHER)
                    .map(|p| (*p).to_owned())
                    .collect();
                (route.path.to_owned(), route.method.to_string(), parameters)
            })
            .collect();
        assert_eq!(described, routed);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => document
                .pointer(reference.strip_prefix('#').unwrap())
                .unwrap_or_else(|| panic!("{reference} leads nowhere")),
        }
    }

    fn references(document: &Value, value: &Value) {
        match value {
            Value::Object(map) => {
                if map.contains_key("$ref") {
                    resolve(document, value);
                }
                map.values().for_each(|v| references(document, v));
            }
            Value::Array(list) => list.iter().for_each(|v| references(document, v)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_is_complete() {
        let document = document();
        references(&document, &document);
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap_or_default();
                assert!(
                    !id.is_empty() && ids.insert(id.to_owned()),
                    "{method} {path}"
                );
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(operation["responses"].is_object(), "{method} {path}");
                for part in path.split('{').skip(1) {
                    let name = part.split('}').next().unwrap();
                    let declared = operation["parameters"].as_array().unwrap().iter().any(|p| {
                        let p = resolve(&document, p);
                        p["in"] == "path" && p["name"] == name
                    });
                    assert!(declared, "{method} {path}: {name}");
                }
            }
        }
    }
}
