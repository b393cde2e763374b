//! Changes that do more than their content says: what a shell, an editor, a build or a machine of somebody else's runs
//! without being told to. They are called out, never hidden in a list.
#![forbid(unsafe_code)]

use super::manifest::Entry;
use super::node::{Kind, Node};

/// Where a rule looks.
enum At {
    /// A file of this name, in any folder.
    Name(&'static str),
    /// A file with this ending.
    Ending(&'static str),
    /// Anything in a folder whose path ends so, and the folder itself.
    Within(&'static str),
    /// Exactly this path or one that ends with it.
    Path(&'static str),
}

use At::{Ending, Name, Path, Within};

/// Names in lower case, each with the reason; the first that fits is told, so what is narrower comes first.
const NOTABLE: [(At, &str); 118] = [
    (Within(".git/hooks"), "git runs it: a hook"),
    (Path(".git/config"), "git's settings, which can name programs that git runs"),
    (Path(".git/config.worktree"), "git's settings, which can name programs that git runs"),
    (Path(".git/info/attributes"), "can have git run filters"),
    (Within(".git/modules"), "git's own data of a submodule, with settings and hooks of its own"),
    (Within(".git"), "git's own data"),
    (Name(".git"), "says where git's own data is"),
    (Name(".gitmodules"), "names repositories that git fetches"),
    (Name(".gitattributes"), "can have git run filters"),
    (Name(".gitconfig"), "git's settings, which can name programs that git runs"),
    (Within(".hg"), "Mercurial's own data, hooks included"),
    (Within(".svn"), "Subversion's own data"),
    (Within(".husky"), "git runs it: a hook"),
    (Name(".pre-commit-config.yaml"), "programs that run at every commit"),
    (Name("lefthook.yml"), "programs that run at every commit"),
    (Name(".envrc"), "direnv runs it on entering the folder"),
    (Name(".env"), "variables that programs started here take over"),
    (Name(".autoenv"), "a shell runs it on entering the folder"),
    (Name(".mise.toml"), "programs and variables on entering the folder"),
    (Name("mise.toml"), "programs and variables on entering the folder"),
    (Name(".tool-versions"), "which programs run in this folder"),
    (Within(".vscode"), "an editor's tasks and settings, which can run programs"),
    (Ending(".code-workspace"), "an editor's tasks and settings, which can run programs"),
    (Within(".idea"), "an editor's run configurations"),
    (Within(".zed"), "an editor's tasks and settings"),
    (Within(".devcontainer"), "an editor builds and starts it"),
    (Name(".exrc"), "an editor runs it on opening the folder"),
    (Name(".vimrc"), "an editor runs it"),
    (Name(".nvim.lua"), "an editor runs it on opening the folder"),
    (Name(".lvimrc"), "an editor runs it on opening the folder"),
    (Name(".emacs"), "an editor runs it"),
    (Name(".dir-locals.el"), "an editor's settings for the folder, which can run code"),
    (Name(".gdbinit"), "a debugger runs it"),
    (Name(".lldbinit"), "a debugger runs it"),
    (Within(".cursor"), "tells an assistant what to do"),
    (Within(".claude"), "tells an assistant what to do and to run"),
    (Name(".mcp.json"), "servers that an assistant starts"),
    (Name(".cursorrules"), "tells an assistant what to do"),
    (Name("agents.md"), "tells an assistant what to do"),
    (Name("claude.md"), "tells an assistant what to do"),
    (Path(".github/copilot-instructions.md"), "tells an assistant what to do"),
    (Within(".github/workflows"), "another machine runs it, with the project's secrets"),
    (Within(".github/actions"), "another machine runs it, with the project's secrets"),
    (Within(".gitea/workflows"), "another machine runs it, with the project's secrets"),
    (Within(".forgejo/workflows"), "another machine runs it, with the project's secrets"),
    (Name(".gitlab-ci.yml"), "another machine runs it, with the project's secrets"),
    (Within(".gitlab"), "another machine may run it"),
    (Within(".circleci"), "another machine runs it, with the project's secrets"),
    (Within(".buildkite"), "another machine runs it, with the project's secrets"),
    (Name(".travis.yml"), "another machine runs it, with the project's secrets"),
    (Name("azure-pipelines.yml"), "another machine runs it, with the project's secrets"),
    (Name("bitbucket-pipelines.yml"), "another machine runs it, with the project's secrets"),
    (Name("appveyor.yml"), "another machine runs it, with the project's secrets"),
    (Name("jenkinsfile"), "another machine runs it, with the project's secrets"),
    (Name(".drone.yml"), "another machine runs it, with the project's secrets"),
    (Name("makefile"), "make runs what is in it"),
    (Name("gnumakefile"), "make runs what is in it"),
    (Name("bsdmakefile"), "make runs what is in it"),
    (Ending(".mk"), "make runs what is in it"),
    (Name("cmakelists.txt"), "a build runs what is in it"),
    (Ending(".cmake"), "a build runs what is in it"),
    (Name("configure"), "a build runs it"),
    (Name("configure.ac"), "a build runs what is in it"),
    (Name("meson.build"), "a build runs what is in it"),
    (Name("build.ninja"), "a build runs what is in it"),
    (Name("sconstruct"), "a build runs what is in it"),
    (Name("wscript"), "a build runs what is in it"),
    (Name("build.bazel"), "a build runs what is in it"),
    (Name("workspace.bazel"), "a build runs what is in it"),
    (Name("module.bazel"), "a build runs what is in it"),
    (Name("justfile"), "just runs what is in it"),
    (Name(".justfile"), "just runs what is in it"),
    (Name("taskfile.yml"), "task runs what is in it"),
    (Name("rakefile"), "rake runs what is in it"),
    (Name("gemfile"), "bundler runs what is in it"),
    (Ending(".gemspec"), "bundler runs what is in it"),
    (Name("build.gradle"), "a build runs what is in it"),
    (Name("build.gradle.kts"), "a build runs what is in it"),
    (Name("settings.gradle"), "a build runs what is in it"),
    (Name("settings.gradle.kts"), "a build runs what is in it"),
    (Name("gradle-wrapper.properties"), "says from where a build fetches its program"),
    (Name("gradlew"), "a build runs it"),
    (Name("mvnw"), "a build runs it"),
    (Name("pom.xml"), "a build runs the plugins in it"),
    (Name("build.rs"), "cargo builds and runs it"),
    (Name("cargo.toml"), "names build scripts, procedural macros and where code comes from"),
    (Within(".cargo"), "cargo's settings, which can name programs that it runs"),
    (Name("rust-toolchain"), "which compiler runs"),
    (Name("rust-toolchain.toml"), "which compiler runs"),
    (Name("package.json"), "npm runs the scripts in it, some on installing"),
    (Name(".npmrc"), "npm's settings: where code comes from and what runs it"),
    (Name(".yarnrc"), "yarn's settings, which can name a program that it runs"),
    (Name(".yarnrc.yml"), "yarn's settings, which can name a program that it runs"),
    (Within(".yarn"), "programs and plugins that yarn runs"),
    (Name(".pnpmfile.cjs"), "pnpm runs it on installing"),
    (Name("binding.gyp"), "npm builds and runs what is in it on installing"),
    (Name("setup.py"), "pip runs it on installing"),
    (Name("setup.cfg"), "a build's settings, which can name code that it runs"),
    (Name("pyproject.toml"), "names what builds the project and where code comes from"),
    (Name("conftest.py"), "pytest runs it"),
    (Name("noxfile.py"), "nox runs it"),
    (Name("tox.ini"), "tox runs what is in it"),
    (Name("sitecustomize.py"), "every Python that finds it runs it"),
    (Name("usercustomize.py"), "every Python that finds it runs it"),
    (Ending(".pth"), "every Python that finds it runs lines of it"),
    (Name("pip.conf"), "pip's settings: where code comes from"),
    (Name("dockerfile"), "a build runs what is in it"),
    (Name("containerfile"), "a build runs what is in it"),
    (Name("compose.yaml"), "containers that are started, with what of this machine they see"),
    (Name("docker-compose.yml"), "containers that are started, with what of this machine they see"),
    (Name("vagrantfile"), "vagrant runs it"),
    (Name("flake.nix"), "nix builds and runs what is in it"),
    (Within(".ssh"), "who may log in, and what ssh runs"),
    (Within(".config/autostart"), "it starts at every login"),
    (Within(".config/systemd"), "it starts at every login"),
    (Within(".config/fish"), "every shell runs it"),
    (Ending(".desktop"), "a desktop starts what it names"),
    (Name(".netrc"), "passwords that programs send"),
];

/// Files that a shell runs when it starts.
const SHELLS: [&str; 15] = [
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".zlogout",
    ".kshrc",
    ".cshrc",
    ".tcshrc",
    ".login",
];

/// What there is to say about a change, in words; nothing about most.
pub fn of(entry: &Entry) -> Vec<String> {
    let path = entry.path.to_lowercase();
    let mut words = Vec::new();
    words.extend(hook(&path).map(str::to_owned));
    words.extend(kind(entry));
    words.extend(mode(entry));
    if entry.newer && entry.refused.is_none() {
        words.push("the folder's own is newer than the session".to_owned());
    }
    words
}

/// Why whoever uses the folder runs what is in a file of this name.
fn hook(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if SHELLS.contains(&name) {
        return Some("a shell runs it when it starts");
    }
    let ends_with = |end: &str| path == end || path.strip_suffix(end).is_some_and(|rest| rest.ends_with('/'));
    let fits = |at: &At| match at {
        Name(wanted) => name == *wanted,
        Ending(ending) => name.ends_with(ending),
        Path(end) => ends_with(end),
        Within(folder) => ends_with(folder) || format!("/{path}").contains(&format!("/{folder}/")),
    };
    NOTABLE.iter().find(|(at, _)| fits(at)).map(|(_, reason)| *reason)
}

fn kind(entry: &Entry) -> Option<String> {
    let word = |node: &Node| match node.kind {
        Kind::File => "a file",
        Kind::Folder => "a folder",
        Kind::Link => "a link",
        Kind::Special => "a device, FIFO or socket",
    };
    match (&entry.before, &entry.after) {
        (Some(before), Some(after)) if before.kind != after.kind => {
            Some(format!("{} becomes {}", word(before), word(after)))
        }
        (None, Some(after)) if after.kind == Kind::Link => Some("a link".to_owned()),
        _ => None,
    }
}

fn mode(entry: &Entry) -> Option<String> {
    let after = entry.after.as_ref()?;
    let file = |node: &Node| (node.kind == Kind::File).then_some(node.mode);
    let runs = |mode: Option<u32>| mode.is_some_and(|mode| mode & 0o111 != 0);
    let before = entry.before.as_ref();
    if runs(file(after)) && !runs(before.and_then(file)) {
        return Some("executable".to_owned());
    }
    let before = before.filter(|before| before.kind == after.kind && before.mode != after.mode)?;
    Some(format!("mode {:03o} becomes {:03o}", before.mode, after.mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_run_is_called_out() {
        for path in [
            ".git/hooks/pre-commit",
            "sub/.git/config",
            ".GIT/Hooks/x",
            ".envrc",
            "deep/er/.envrc",
            ".vscode/tasks.json",
            "Makefile",
            "src/rules.mk",
            "CMakeLists.txt",
            ".bashrc",
            "home/.zshenv",
            ".config/autostart/x.desktop",
            ".npmrc",
            "web/package.json",
            "build.rs",
            "crates/a/build.rs",
            ".github/workflows/ci.yml",
            ".cargo/config.toml",
            "AGENTS.md",
            "conftest.py",
            ".husky/pre-push",
            "a.pth",
        ] {
            assert!(hook(&path.to_lowercase()).is_some(), "{path}");
        }
        for path in [
            "src/main.rs",
            "notes.txt",
            "git/hooks/x",
            "xenvrc",
            "makefile.txt",
            "docs/package.json.md",
            "rebuild.rs",
        ] {
            assert_eq!(hook(path), None, "{path}");
        }
    }

    #[test]
    fn every_name_is_in_lower_case_as_paths_are_when_they_are_compared() {
        for (at, reason) in &NOTABLE {
            let (Name(text) | Ending(text) | Within(text) | Path(text)) = at;
            assert_eq!(*text, text.to_lowercase(), "{reason}");
        }
    }
}
