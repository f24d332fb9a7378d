//! What an expression says, without its data.

use super::{
    answer::{Failure, Success},
    asked::Asked,
};
use crate::query::{parse, pretty, to_json};

pub(in crate::api) async fn format_query(asked: Asked) -> Result<Success, Failure> {
    let expression = parse(asked.query()).map_err(|why| Failure::parameter("query", why))?;
    Ok(Success::of(&pretty(&expression).into()))
}

pub(in crate::api) async fn parse_query(asked: Asked) -> Result<Success, Failure> {
    let expression = parse(asked.query()).map_err(|why| Failure::parameter("query", why))?;
    Ok(Success::of(&to_json(&expression)))
}
