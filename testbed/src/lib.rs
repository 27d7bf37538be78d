//! Fabrics in network namespaces: topologies as values, real daemons as peers, probes, and the demo.
//!
//! The way down: a [`topology`] is a value; [`fabric`] makes namespaces and links of it, inside a [`sandbox`] that
//! vanishes as a whole; [`speaker`] runs routing software on its routers; [`pod`] adds pods through the CNI plugin;
//! [`probe`], [`traffic`] and [`capture`] ask whether it works, and [`kernel`] reads what the routes are. The [`demo`]
//! tells that as a story; `tests/` asserts it piece by piece, through the small runner of [`trial`]; [`interop`] meets
//! other routing daemons, [`conformance`] any CNI plugin, and the [`mod@bench`] measures it beside one. [`model`] asks for the sentences of the Kubernetes network model,
//! here and on a real [`cluster`]. [`image`] makes container images of programs,
//! and [`manifests`] the one file that installs flatroute.

pub mod bench;
pub mod capture;
pub mod cluster;
pub mod conformance;
pub mod control;
pub mod demo;
pub mod fabric;
pub mod image;
pub mod interop;
pub mod kernel;
pub mod lab;
pub mod manifests;
pub mod model;
pub mod namespace;
pub mod paint;
pub mod pod;
pub mod probe;
pub mod process;
pub mod sandbox;
pub mod speaker;
mod sys;
pub mod topology;
pub mod traffic;
mod transfer;
pub mod trial;
pub mod wait;
