//! Variables that make a program run or load something: data, to be reviewed as data.
#![forbid(unsafe_code)]

/// A `*` at the end stands for anything.
const HOSTILE: &[&str] = &[
    // The loader and libc: ld.so(8), gconv, locale, malloc tracing.
    "LD_*",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "MALLOC_TRACE",
    "HOSTALIASES",
    "RESOLV_HOST_CONF",
    "LOCALDOMAIN",
    // Where programs are looked for, and what is read before they start.
    "PATH",
    "HOME",
    "SHELL",
    "IFS",
    "CDPATH",
    "ENV",
    "BASH_*",
    "BASHOPTS",
    "SHELLOPTS",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "PROMPT_COMMAND",
    "ZDOTDIR",
    "FPATH",
    "INPUTRC",
    "HISTFILE",
    "TMPDIR",
    "XDG_*",
    // Interpreters.
    "PYTHON*",
    "PERL*",
    "RUBY*",
    "GEM_*",
    "BUNDLE_*",
    "NODE_*",
    "NPM_*",
    "npm_*",
    "DENO_*",
    "LUA_*",
    "PHP*",
    "TCL*",
    "JAVA_*",
    "_JAVA_OPTIONS",
    "JDK_*",
    "CLASSPATH",
    "MAVEN_*",
    "GRADLE_*",
    "DOTNET_*",
    "CORECLR_*",
    "COR_*",
    "R_*",
    "JULIA_*",
    "GUILE_*",
    "OCAML*",
    "CAML*",
    "ERL_*",
    "AWKPATH",
    "AWKLIBPATH",
    "POSIXLY_CORRECT",
    // Build tools.
    "MAKE*",
    "MFLAGS",
    "GNUMAKEFLAGS",
    "CC",
    "CXX",
    "CPP",
    "LD",
    "AR",
    "AS",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "GCC_*",
    "COMPILER_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "CARGO*",
    "RUST*",
    "GO*",
    "CMAKE_*",
    "PKG_CONFIG*",
    "PIP_*",
    "UV_*",
    // Programs that start others by a variable.
    "GIT_*",
    "SSH_*",
    "RSYNC_*",
    "CVS_*",
    "SVN_*",
    "HG*",
    "PAGER",
    "MANPAGER",
    "MANOPT",
    "LESS*",
    "MORE",
    "MOST*",
    "BROWSER",
    "EDITOR",
    "VISUAL",
    "FCEDIT",
    "TAR_OPTIONS",
    "RSH",
    "ZIPOPT",
    "UNZIP*",
    "GZIP",
    "BZIP*",
    "XZ_*",
    "GREP_*",
    "RIPGREP_CONFIG_PATH",
    "FZF_*",
    "VIM*",
    "VIMINIT",
    "EXINIT",
    "MYVIMRC",
    "EMACS*",
    "SUDO_*",
    "WGETRC",
    "SYSTEM_WGETRC",
    "CURL_HOME",
    "NETRC",
    "OPENSSL_*",
    "GNUPG*",
    "DISPLAY",
    "DBUS_*",
    "TERMINFO*",
    "TERMCAP",
    "MAGIC",
    "GDB*",
    "INFOPATH",
    "MANPATH",
    "KUBECONFIG",
    "DOCKER_*",
    // Where connections go.
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_*",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSLKEYLOGFILE",
];

/// The entry that names this variable, if it is one of those.
pub(crate) fn hostile(name: &str) -> Option<&'static str> {
    HOSTILE.iter().copied().find(|known| match known.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *known,
    })
}

/// The entry of a variable that begins like this.
pub(crate) fn hostile_beginning(prefix: &str) -> Option<&'static str> {
    hostile(prefix).or_else(|| HOSTILE.iter().copied().find(|known| known.starts_with(prefix)))
}

/// Whether this is a variable's name: letters, digits and `_`, no digit first (POSIX).
pub(crate) fn is_variable(name: &str) -> bool {
    let rest = name.strip_prefix(|c: char| c.is_ascii_alphabetic() || c == '_');
    rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) && name.len() <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row P7, by name.
    #[test]
    fn every_variable_of_the_attack_is_known() {
        for name in [
            "PATH",
            "LD_PRELOAD",
            "BASH_ENV",
            "ENV",
            "NODE_OPTIONS",
            "PYTHONSTARTUP",
            "GIT_EXTERNAL_DIFF",
            "PERL5OPT",
        ] {
            assert!(hostile(name).is_some(), "{name}");
        }
        for name in ["LANG", "LC_ALL", "TZ", "TERM", "NO_COLOR", "COLUMNS", "PATHX", "SOURCE_DATE_EPOCH"] {
            assert_eq!(hostile(name), None, "{name}");
        }
    }

    #[test]
    fn a_beginning_that_could_be_one_is_known() {
        for prefix in ["", "L", "LD_PRE", "PATH", "GIT_EXTERNAL"] {
            assert!(hostile_beginning(prefix).is_some(), "{prefix}");
        }
        assert_eq!(hostile_beginning("LC_"), None);
    }
}
