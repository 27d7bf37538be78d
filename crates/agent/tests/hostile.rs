//! Hostile messages over real sockets: what a neighbour of bad will or bad software can send to a running agent, what
//! must come back, and what must survive of its own routes, of the other sessions and of the process.
//!
//! Each case is a row of a table (`rows`, a file a noun) or a story of its own (`floods`). What a row expects is
//! what its RFC says, in octets; the messages and the reading of the answers are made here without the agent's codec.
//! All rows run against one agent, each as a neighbour of its own, several at a time; beside them stands a well-behaved
//! session that is also told every route that is learned, and reads it strictly.

// Tables of cases are long, and what a test builds for itself may be unwrapped.
#![allow(clippy::unwrap_used, clippy::too_many_lines)]

mod hostile {
    #[allow(dead_code, reason = "the stories of the other test program use the rest")]
    #[path = "../end_to_end/agent.rs"]
    mod agent;
    mod bystander;
    mod floods;
    #[allow(dead_code, reason = "as above")]
    #[path = "../end_to_end/lab.rs"]
    mod lab;
    mod neighbour;
    mod octets;
    mod row;
    mod rows;
    mod scene;
    mod table;
}
