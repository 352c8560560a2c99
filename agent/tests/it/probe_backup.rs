//! The probe `backup` against real status files, the real restic and borg, and the wrappers of
//! `deploy/backup` against the programs they wrap. Needs root, restic, borg, rsync and `PostgreSQL`.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bailey_agent::probe::backup::BackupProbe;
use bailey_agent::probe::{Probe as _, Wake};
use bailey_agent::settings::{self, Tool};
use bailey_rules::fact::backup::{Job, Repository};
use bailey_rules::fact::{Fact, Named, Reading};
use tempfile::TempDir;

/// A drop folder and the probe that looks at it.
struct Site {
    folder: TempDir,
    probe: BackupProbe,
}

impl Site {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(repositories: Vec<settings::Repository>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("drop")).unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let probe = probe(folder.path(), repositories);
        Self { folder, probe }
    }

    fn drop_folder(&self) -> PathBuf {
        self.folder.path().join("drop")
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let beside = self.drop_folder().join(".new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.drop_folder().join(name)).unwrap();
    }

    async fn read(&mut self) -> Vec<Fact> {
        self.probe.read(Wake::Interval).await.unwrap()
    }

    /// The agent is started anew.
    fn restart(&mut self) {
        self.probe = probe(self.folder.path(), Vec::new());
    }
}

fn probe(folder: &Path, repositories: Vec<settings::Repository>) -> BackupProbe {
    let backup = settings::Backup { drop_directory: folder.join("drop"), repositories };
    BackupProbe::new(&backup).remembering_in(&folder.join("state"))
}

fn reading<'a, T: Named>(facts: &'a [Fact], subject: &str) -> Result<&'a T, &'a str> {
    let fact = facts
        .iter()
        .find(|fact| fact.key.kind == T::KIND && &*fact.key.subject == subject)
        .unwrap_or_else(|| panic!("no fact {} of {subject} in {facts:?}", T::KIND));
    match &fact.reading {
        Reading::Known(value) => Ok(T::of(value).unwrap()),
        Reading::Unreadable { why } => Err(why),
    }
}

fn job<'a>(facts: &'a [Fact], name: &str) -> &'a Job {
    reading(facts, name).unwrap()
}

fn why<'a>(facts: &'a [Fact], name: &str) -> &'a str {
    reading::<Job>(facts, name).unwrap_err()
}

fn status(name: &str, hour: u32, success: bool, size: u64) -> String {
    format!(
        "job: {name}\ntool: restic\nstarted_at: 2026-11-23T{hour:02}:00:00+08:00\n\
         finished_at: 2026-11-23T{hour:02}:30:00+08:00\nsuccess: {success}\nsize_bytes: {size}\n"
    )
}

#[tokio::test]
async fn a_status_file_in_yaml_or_json_becomes_a_fact() {
    let mut site = Site::new();
    assert_eq!(site.read().await, [], "no job, no fact");
    site.put("home.yaml", status("home", 2, true, 1234));
    site.put(
        "oracle-fin.json",
        r#"{
	"job": "oracle-fin", "tool": "pg_dump", "success": false,
	"started_at": "2026-11-23T01:00:00Z", "finished_at": "2026-11-23T01:00:01.5Z",
	"files": 7, "destination": "nas:/srv", "message": "disk \"full\" 磁盘已满"
}"#,
    );
    let facts = site.read().await;
    let home = job(&facts, "home");
    assert_eq!((home.tool.as_str(), home.success), ("restic", true));
    assert_eq!(home.size.unwrap().0, 1234);
    assert_eq!(home.last_success_at, Some("2026-11-22T18:30:00Z".parse().unwrap()));
    let oracle = job(&facts, "oracle-fin");
    assert_eq!((oracle.files, oracle.success, oracle.last_success_at), (Some(7), false, None));
    assert_eq!(oracle.message, "disk \"full\" 磁盘已满");
}

#[tokio::test]
async fn a_failed_run_keeps_the_last_good_one_also_over_a_restart() {
    let mut site = Site::new();
    for (hour, success, size) in [(1, true, 100), (2, true, 110), (3, false, 0)] {
        site.put("home.yaml", status("home", hour, success, size));
        site.read().await;
    }
    for _ in 0..2 {
        let facts = site.read().await;
        let home = job(&facts, "home");
        assert!(!home.success);
        assert_eq!(home.last_success_at, Some("2026-11-23T02:30:00+08:00".parse().unwrap()));
        assert_eq!(home.sizes.iter().map(|size| size.0).collect::<Vec<_>>(), [110, 100]);
        site.restart();
    }
}

#[tokio::test]
async fn a_job_whose_file_is_gone_stays_until_it_is_retired() {
    let mut site = Site::new();
    site.put("home.yaml", status("home", 2, true, 5));
    site.read().await;
    std::fs::remove_file(site.drop_folder().join("home.yaml")).unwrap();
    for _ in 0..2 {
        let facts = site.read().await;
        assert!(
            why(&facts, "home")
                .contains("the status file is gone; its last good run ended 2026-11-22T18:30:00Z")
        );
        site.restart();
    }
    std::fs::remove_dir(site.drop_folder()).unwrap();
    assert!(why(&site.read().await, "home").contains("gone"), "also when the folder is");
    std::fs::create_dir(site.drop_folder()).unwrap();
    site.put("home.retired", "");
    assert_eq!(site.read().await, []);
    std::fs::remove_file(site.drop_folder().join("home.retired")).unwrap();
    assert_eq!(site.read().await, []);
}

#[tokio::test]
async fn a_wrong_file_says_where_and_what() {
    let good = status("home", 2, true, 5);
    let cases = [
        (good.replace("success", "sucess"), "home.yaml:5:1: \"sucess\" is not a key here"),
        (good.replace("true", "maybe"), "home.yaml:5:10:"),
        (good.replace("2026-11-23T02:00:00+08:00", "yesterday"), "is not a time"),
        (
            good.replace("job: home", "job: other"),
            "home.yaml:1:6: the file is named after another job",
        ),
        (good.replace("02:30:00", "01:30:00"), "home.yaml:4:14: the run ended before it began"),
        (good.replace("tool: restic\n", ""), "the key \"tool\" is missing"),
        (format!("{good}job: home\n"), "stands here for the second time"),
        (good.replace("size_bytes: 5", "size_bytes: -5"), "home.yaml:6:13"),
        (good.replace("restic", "\" \""), "the tool has no name"),
        (String::new(), "home.yaml"),
        ("[".repeat(20_000), "recursion limit"),
        ("a: &a [1, 1]\nb: *a\n".to_owned(), "home.yaml"),
        ("x".repeat(70_000), "has 70000 octets; at most 65536 are read"),
    ];
    let mut site = Site::new();
    for (text, wanted) in cases {
        site.put("home.yaml", &text);
        let facts = site.read().await;
        let said = why(&facts, "home");
        assert!(said.contains(wanted), "{said:?} should say {wanted:?}");
        assert!(!said.contains('\n'));
    }
    // A message in another encoding does not cost the status.
    site.put("home.yaml", [good.as_bytes(), b"message: \xb1\xb8\xb7\xdd\n"].concat());
    assert!(job(&site.read().await, "home").message.contains('\u{fffd}'));
}

#[tokio::test]
async fn nothing_is_believed_that_anybody_could_have_written() {
    let mut site = Site::new();
    let path = |name: &str| site.drop_folder().join(name);
    for name in ["open", "owned", "twice"] {
        site.put(&format!("{name}.yaml"), status(name, 2, true, 5));
    }
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&path("open.yaml"), 0o646);
    std::os::unix::fs::chown(path("owned.yaml"), Some(12345), Some(54321)).unwrap();
    std::fs::hard_link(path("twice.yaml"), path("again.json")).unwrap();
    symlink("/etc/passwd", path("link.yaml")).unwrap();
    std::fs::create_dir(path("folder.yaml")).unwrap();
    nix::unistd::mkfifo(&path("pipe.yaml"), nix::sys::stat::Mode::from_bits_truncate(0o600))
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.yaml")).unwrap();
    site.put("-rf é.yaml", "x");
    site.put("both.yaml", status("both", 2, true, 5));
    site.put("both.json", status("both", 3, true, 5));

    let drop_folder = site.drop_folder();
    let facts = tokio::time::timeout(Duration::from_mins(1), site.read())
        .await
        .expect("a pipe holds nobody up");
    for (name, wanted) in [
        ("open", "is writable by everyone"),
        ("owned", "is owned by user 12345"),
        ("twice", "has a second name"),
        ("again", "has a second name"),
        ("link", "is a symbolic link"),
        ("folder", "is no ordinary file"),
        ("pipe", "is no ordinary file"),
        ("socket", "is no ordinary file"),
        ("-rf é", "a job's name has"),
        ("both", "two status files"),
    ] {
        let said = why(&facts, name);
        assert!(said.contains(wanted), "{name}: {said:?} should say {wanted:?}");
    }

    // A folder that is shared with a group: its members may leave files.
    std::os::unix::fs::chown(&drop_folder, None, Some(54321)).unwrap();
    mode(&drop_folder, 0o2770);
    assert!(job(&site.read().await, "owned").success);

    mode(&drop_folder, 0o777);
    let facts = site.read().await;
    assert!(why(&facts, "").contains("is writable by everyone"));
    assert!(
        why(&facts, "owned").contains("is writable by everyone"),
        "what was known is not forgotten"
    );
}

#[tokio::test]
async fn more_files_than_are_read_are_told_of() {
    let mut site = Site::new();
    for nth in 0..300 {
        let name = format!("job-{nth}");
        site.put(&format!("{name}.yaml"), status(&name, 2, true, 5));
    }
    let facts = site.read().await;
    assert!(why(&facts, "").contains("more than 256 status files"));
    assert_eq!(facts.iter().filter(|fact| fact.reading.known().is_some()).count(), 256);
}

#[tokio::test]
async fn a_damaged_memory_is_set_aside() {
    let mut site = Site::new();
    let memory = site.folder.path().join("state/backup-history.json");
    for text in ["", "{\"jobs\": 7}", "\u{0}\u{0}"] {
        std::fs::write(&memory, text).unwrap();
        site.restart();
        site.put("home.yaml", status("home", 2, true, 5));
        assert!(job(&site.read().await, "home").success);
        assert_eq!(std::fs::read_to_string(memory.with_extension("damaged")).unwrap(), text);
    }
}

#[tokio::test]
async fn a_new_status_is_told_within_a_second_and_reading_is_not() {
    let mut site = Site::new();
    site.read().await;
    // The watch begins with the first reading, which is then repeated once.
    tokio::time::timeout(Duration::from_secs(1), site.probe.told()).await.unwrap();
    for hour in 1..4 {
        site.read().await;
        let quiet = tokio::time::timeout(Duration::from_millis(600), site.probe.told()).await;
        assert!(quiet.is_err(), "reading is no change");
        site.put("home.yaml", status("home", hour, true, 5));
        tokio::time::timeout(Duration::from_secs(1), site.probe.told()).await.expect("told");
        assert!(job(&site.read().await, "home").success);
    }
    // The folder is replaced as a whole.
    let drop_folder = site.drop_folder();
    std::fs::rename(&drop_folder, drop_folder.with_extension("old")).unwrap();
    std::fs::create_dir(&drop_folder).unwrap();
    assert!(why(&site.read().await, "home").contains("gone"));
    let _ = tokio::time::timeout(Duration::from_secs(1), site.probe.told()).await;
    site.read().await;
    site.put("home.yaml", status("home", 5, true, 5));
    tokio::time::timeout(Duration::from_secs(1), site.probe.told()).await.expect("told again");
}

/// Runs a program that must work; what it printed.
fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; ./test installs what is needed"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    output
}

/// A repository, what is backed up into it, and its password.
struct Kept {
    folder: TempDir,
    tool: Tool,
}

impl Kept {
    fn new(tool: Tool) -> Self {
        let kept = Self { folder: tempfile::tempdir().unwrap(), tool };
        std::fs::create_dir(kept.data()).unwrap();
        std::fs::write(kept.password(), "correct horse\n").unwrap();
        match tool {
            Tool::Restic => run(kept.command().arg("init")),
            Tool::Borg => run(kept.command().args(["init", "--encryption", "repokey"])),
        };
        kept
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn password(&self) -> PathBuf {
        self.folder.path().join("it's a password")
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.tool.as_str());
        match self.tool {
            Tool::Restic => command
                .env("RESTIC_REPOSITORY", self.repository())
                .env("RESTIC_PASSWORD_FILE", self.password())
                .env("RESTIC_CACHE_DIR", self.folder.path().join("cache")),
            Tool::Borg => command
                .env("BORG_REPO", self.repository())
                .env("BORG_PASSPHRASE", "correct horse")
                .env("BORG_BASE_DIR", self.folder.path().join("borg")),
        };
        command
    }

    fn fill(&self, files: usize, size: usize) {
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::create_dir(self.data()).unwrap();
        for nth in 0..files {
            std::fs::write(self.data().join(format!("file-{nth}")), vec![b'x'; size]).unwrap();
        }
    }

    fn back_up(&self, name: &str) {
        // Snapshots of one second have no order.
        std::thread::sleep(Duration::from_millis(1100));
        match self.tool {
            Tool::Restic => run(self.command().arg("backup").arg(self.data())),
            Tool::Borg => {
                run(self.command().arg("create").arg(format!("::{name}")).arg(self.data()))
            }
        };
    }

    fn settings(&self) -> settings::Repository {
        settings::Repository {
            name: "home".to_owned(),
            tool: self.tool,
            path: self.repository().to_string_lossy().into_owned(),
            password_file: Some(self.password()),
            environment_file: None,
        }
    }
}

async fn repository_read(settings: settings::Repository) -> Result<Repository, String> {
    let mut site = Site::with(vec![settings]);
    let began = Instant::now();
    loop {
        let facts = site.read().await;
        match reading::<Repository>(&facts, "home") {
            Ok(repository) => return Ok(repository.clone()),
            Err("it is being read for the first time") => {
                assert!(began.elapsed() < Duration::from_mins(1));
                site.probe.told().await;
            }
            Err(why) => return Err(why.to_owned()),
        }
    }
}

async fn a_repository_tells_what_it_really_holds(tool: Tool) {
    let kept = Kept::new(tool);
    let read = repository_read(kept.settings()).await.unwrap();
    assert_eq!((read.tool.as_str(), read.snapshots, read.newest.len()), (tool.as_str(), 0, 0));

    kept.fill(10, 1000);
    kept.back_up("whole");
    kept.fill(1, 10);
    kept.back_up("shrunken");
    kept.fill(0, 0);
    kept.back_up("empty");
    let read = repository_read(kept.settings()).await.unwrap();
    assert_eq!(read.snapshots, 3);
    let sizes: Vec<_> = read.newest.iter().map(|snapshot| snapshot.size.unwrap().0).collect();
    assert_eq!(sizes, [0, 10, 10_000], "newest first");
    let files: Vec<_> = read.newest.iter().map(|snapshot| snapshot.files.unwrap()).collect();
    assert!(files[0] < files[1] && files[1] + 8 < files[2], "{files:?}");
    let age = |nth: usize| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap() - read.newest[nth].taken_at.as_seconds()
    };
    assert!((0..120).contains(&age(0)) && age(0) < age(1) && age(1) < age(2));
}

#[tokio::test]
async fn restic_tells_what_a_repository_really_holds() {
    a_repository_tells_what_it_really_holds(Tool::Restic).await;
}

#[tokio::test]
async fn borg_tells_what_a_repository_really_holds() {
    a_repository_tells_what_it_really_holds(Tool::Borg).await;
}

async fn what_is_wrong_with_a_repository_is_named(tool: Tool) {
    let kept = Kept::new(tool);
    let with = |change: fn(&mut settings::Repository)| {
        let mut settings = kept.settings();
        change(&mut settings);
        repository_read(settings)
    };
    let missing = with(|settings| settings.path.push_str("-gone")).await.unwrap_err();
    assert!(missing.contains(&format!("there is no {} repository at", tool.as_str())), "{missing}");
    let no_password = with(|settings| settings.password_file = None).await.unwrap_err();
    assert!(no_password.contains("there is no password for"), "{no_password}");
    std::fs::write(kept.password(), "wrong\n").unwrap();
    let wrong = with(|_| {}).await.unwrap_err();
    assert!(wrong.contains("the password for") && wrong.ends_with("is wrong"), "{wrong}");
    assert!(!wrong.contains("wrong\n"));
}

#[tokio::test]
async fn restic_names_what_is_wrong_with_a_repository() {
    what_is_wrong_with_a_repository_is_named(Tool::Restic).await;
}

#[tokio::test]
async fn borg_names_what_is_wrong_with_a_repository() {
    what_is_wrong_with_a_repository_is_named(Tool::Borg).await;
}

#[tokio::test]
async fn a_repository_that_another_borg_has_locked_says_so() {
    let kept = Kept::new(Tool::Borg);
    // Holds the lock as long as its input is open, and leaves nobody behind.
    let mut holder = kept.command();
    holder.args(["with-lock", "::", "cat"]).stdin(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    while !kept.repository().join("lock.exclusive").exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let locked = repository_read(kept.settings()).await;
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    assert!(locked.unwrap_err().contains("is locked by another borg"));
}

#[tokio::test]
async fn credentials_come_from_a_file_that_only_the_agent_may_write() {
    let kept = Kept::new(Tool::Restic);
    let file = kept.folder.path().join("environment");
    let mut settings = kept.settings();
    settings.password_file = None;
    settings.environment_file = Some(file.clone());
    let set = |text: &str, mode| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set("# of the store\nRESTIC_PASSWORD=\"correct horse\"\n", 0o600);
    assert_eq!(repository_read(settings.clone()).await.unwrap().snapshots, 0);
    set("RESTIC_PASSWORD=x\nLD_PRELOAD=/tmp/evil.so\n", 0o600);
    assert!(
        repository_read(settings.clone())
            .await
            .unwrap_err()
            .contains("line 2: LD_PRELOAD is not taken")
    );
    set("RESTIC_PASSWORD=\"correct horse\"\n", 0o622);
    assert!(
        repository_read(settings).await.unwrap_err().contains("others than root and the agent")
    );
}

#[tokio::test]
async fn a_password_in_an_address_is_never_shown() {
    let mut settings = Kept::new(Tool::Restic).settings();
    settings.path = "rest:http://user:secret@127.0.0.1:1/repo".to_owned();
    let why = repository_read(settings).await.unwrap_err();
    assert!(!why.contains("secret") && why.contains("http://...@127.0.0.1:1"), "{why}");
}

fn wrapper(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/backup");
    let mut command = Command::new("sh");
    command.arg(folder.join(name));
    command
}

/// The job `home` as the probe reads it after a wrapper ran, and whether the wrapper ended well.
async fn wrapped(site: &mut Site, command: &mut Command) -> (Job, bool) {
    let output = command.env("BAILEY_DROP", site.drop_folder()).output().unwrap();
    let facts = site.read().await;
    let home = reading::<Job>(&facts, "home");
    let home = home.unwrap_or_else(|why| panic!("{why}: {output:?}")).clone();
    assert_eq!(std::fs::read_dir(site.drop_folder()).unwrap().count(), 1, "nothing else is left");
    (home, output.status.success())
}

#[tokio::test]
async fn the_wrappers_of_restic_and_borg_leave_a_status() {
    for tool in [Tool::Restic, Tool::Borg] {
        let kept = Kept::new(tool);
        kept.fill(3, 100);
        let mut site = Site::new();
        let name = format!("{}.sh", tool.as_str());
        let run = |data: &Path, repository: &Path| {
            let mut command = wrapper(&name);
            let environment: Vec<_> = kept
                .command()
                .get_envs()
                .map(|(k, v)| (k.to_owned(), v.unwrap().to_owned()))
                .collect();
            command.envs(environment).arg("home").arg(data);
            command.env("BORG_REPO", repository).env("RESTIC_REPOSITORY", repository);
            command
        };
        let (home, ended_well) =
            wrapped(&mut site, &mut run(&kept.data(), &kept.repository())).await;
        assert!(home.success && ended_well, "{home:?}");
        assert_eq!((home.tool.as_str(), home.files), (tool.as_str(), Some(3)), "{home:?}");
        assert_eq!(home.size.unwrap().0, 300);
        assert_eq!(home.destination, kept.repository().to_string_lossy());

        let gone = kept.folder.path().join("gone");
        let (home, ended_well) = wrapped(&mut site, &mut run(&kept.data(), &gone)).await;
        assert!(!home.success && !ended_well && home.message.contains("ended with"), "{home:?}");
        assert_eq!(home.sizes.len(), 1, "the good run is remembered");
    }
}

#[tokio::test]
async fn the_wrapper_of_rsync_leaves_a_status() {
    run(Command::new("rsync").arg("--version"));
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    let mut site = Site::new();
    let run = |from: &Path| {
        let mut command = wrapper("rsync.sh");
        command.arg("home").arg(format!("{}/", from.display())).arg(&to);
        command
    };
    let (home, ended_well) = wrapped(&mut site, &mut run(&from)).await;
    assert!(home.success && ended_well, "{home:?}");
    assert_eq!((home.files, home.size.unwrap().0), (Some(0), 0), "nothing was there to copy");

    for (name, size) in [("a", 1500), ("b", 2_000_000)] {
        std::fs::write(from.join(name), vec![b'x'; size]).unwrap();
    }
    let (home, _) = wrapped(&mut site, &mut run(&from)).await;
    assert_eq!((home.files, home.size.unwrap().0), (Some(2), 2_001_500));
    assert!(to.join("b").exists());

    let (home, ended_well) = wrapped(&mut site, &mut run(&folder.path().join("gone"))).await;
    assert!(!home.success && !ended_well);
    assert_eq!(home.message, "rsync ended with 23");
}

/// A `PostgreSQL` server of its own, on a Unix socket only.
struct Postgres {
    folder: TempDir,
    programs: PathBuf,
}

impl Postgres {
    fn start() -> Self {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .map(|versions| versions.map(|version| version.unwrap().path().join("bin")).max());
        let programs =
            versions.ok().flatten().expect("PostgreSQL is not installed; ./test does that");
        let folder = tempfile::tempdir().unwrap();
        // The server refuses to run as root.
        let user = nix::unistd::User::from_name("postgres").unwrap().expect("the user postgres");
        nix::unistd::chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
        let server = Self { folder, programs };
        let data = server.folder.path().join("data");
        run(server.command("initdb").args(["--auth", "trust", "--no-sync", "-D"]).arg(&data));
        let options = format!("-c listen_addresses= -k {}", server.folder.path().display());
        run(server
            .command("pg_ctl")
            .args(["start", "-w", "-s", "-o", &options, "-l"])
            .arg(server.folder.path().join("log"))
            .arg("-D")
            .arg(&data));
        server
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        command.arg(self.programs.join(program)).current_dir(self.folder.path());
        command
    }

    fn sql(&self, text: &str) {
        let host = self.folder.path().to_string_lossy();
        run(self.command("psql").args(["-h", &host, "-d", "postgres", "-q", "-c", text]));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        let stopped =
            self.command("pg_ctl").args(["stop", "-s", "-m", "immediate", "-D"]).arg(data).status();
        assert!(stopped.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test]
async fn the_wrapper_of_pg_dump_leaves_a_status() {
    let server = Postgres::start();
    let dumps = tempfile::tempdir().unwrap();
    let mut site = Site::new();
    let run = |database: &str| {
        let mut command = wrapper("pg_dump.sh");
        command.args(["home", database]).arg(dumps.path());
        command.env("PGHOST", server.folder.path()).env("PGUSER", "postgres");
        command
    };
    let (home, _) = wrapped(&mut site, &mut run("postgres")).await;
    assert!(home.success);
    assert_eq!((home.files, home.message.as_str()), (Some(0), "the dump holds no table"));

    server.sql("create table letters as select generate_series(1, 1000) as number");
    let (home, ended_well) = wrapped(&mut site, &mut run("postgres")).await;
    assert!(home.success && ended_well);
    assert_eq!((home.files, home.message.as_str()), (Some(1), "1 tables"));
    assert!(home.size.unwrap().0 > 1000);

    let (home, ended_well) = wrapped(&mut site, &mut run("nowhere")).await;
    assert!(!home.success && !ended_well);
    assert_eq!(home.message, "pg_dump of nowhere failed");
    assert!(
        std::fs::read_dir(dumps.path()).unwrap().all(|dump| {
            dump.unwrap().path().extension().is_some_and(|ending| ending == "dump")
        })
    );
}

#[tokio::test]
async fn a_script_that_ends_halfway_leaves_a_failure() {
    let mut site = Site::new();
    let status = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/backup/status.sh");
    let script = |body: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(". '{}'; bailey_begin home test; {body}", status.display()));
        command
    };
    for body in ["exit 3", "kill -TERM $$; sleep 5", "set -e; false", "set -u; : $nothing"] {
        let (home, ended_well) = wrapped(&mut site, &mut script(body)).await;
        assert!(!home.success && !ended_well, "{body}");
        assert_eq!(home.message, "the script ended before the backup was done", "{body}");
    }
    // What was said, and where to, can hold anything.
    let said = "BAILEY_DESTINATION='https://me:secret@nas/x'; bailey_done \"$(printf 'a \"b\" \\\\ : #\\n\\tc\\033[31m é中')\"";
    let (home, _) = wrapped(&mut site, &mut script(said)).await;
    assert!(home.success);
    assert_eq!(home.message, "a \"b\" \\ : #  c[31m é中");
    assert_eq!(home.destination, "https://nas/x");
}
