//! Writes the files of `deploy/crds` and `docs/reference.md` from the types: `make crds`.

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = root.join("deploy/crds");
    fs::create_dir_all(&dir)?;
    for (name, text) in flatroute_api::crd::files() {
        fs::write(dir.join(&name), text)?;
        println!("deploy/crds/{name}");
    }
    fs::write(root.join("docs/reference.md"), flatroute_api::crd::reference())?;
    println!("docs/reference.md");
    Ok(())
}
