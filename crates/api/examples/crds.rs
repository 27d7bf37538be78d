//! Writes the files of `deploy/crds` from the types: `make crds`.

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    fs::create_dir_all(&dir)?;
    for (name, text) in flatroute_api::crd::files() {
        fs::write(dir.join(&name), text)?;
        println!("deploy/crds/{name}");
    }
    Ok(())
}
