//! The interoperability matrix against BIRD, FRR, GoBGP, OpenBGPD and ExaBGP; `testbed/src/interop/` says what its cells are.

use std::process::ExitCode;

fn main() -> ExitCode {
    flatroute_testbed::interop::matrix::main()
}
