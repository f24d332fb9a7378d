//! Who asks whom: the agent graph.

mod agent_graph;
mod edges;

pub use agent_graph::{AgentGraph, AgentStats, EdgeStats};
pub use edges::{Edge, EdgeKind, edges, edges_of};

pub(super) use edges::transfer_told;
