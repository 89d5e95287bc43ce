//! What is denied where no policy allows it by name: places by which one becomes administrator of a machine. Pure.

/// Folders and files of Linux: programs and settings of the system, what it runs by itself, and homes.
const LINUX: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/home",
    "/initrd.img",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/nix",
    "/ostree",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/snap",
    "/sys",
    "/sysroot",
    "/usr",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/lock",
    "/var/log",
    "/var/mail",
    "/var/run",
    "/var/spool",
    "/vmlinuz",
];

/// Folders and files of Windows, on every drive. Programs of others are run by administrators and services of
/// SYSTEM; `C:\Program.exe` by whoever forgot the quotes of `C:\Program Files`; folders of users hold what starts with
/// their logon; `Config.Msi` and `Package Cache` what installers run; `ssh` who may log on as administrator.
const WINDOWS: &[&str] = &[
    r"?:\$Recycle.Bin",
    r"?:\$SysReset",
    r"?:\$WinREAgent",
    r"?:\$Windows.~BT",
    r"?:\$Windows.~WS",
    r"?:\Boot",
    r"?:\bootmgr",
    r"?:\BOOTNXT",
    r"?:\Config.Msi",
    r"?:\Documents and Settings",
    r"?:\EFI",
    r"?:\hiberfil.sys",
    r"?:\MSOCache",
    r"?:\pagefile.sys",
    r"?:\PerfLogs",
    r"?:\Program",
    r"?:\Program.bat",
    r"?:\Program.cmd",
    r"?:\Program.com",
    r"?:\Program.exe",
    r"?:\Program Files",
    r"?:\Program Files (Arm)",
    r"?:\Program Files (x86)",
    r"?:\ProgramData\Microsoft",
    r"?:\ProgramData\Package Cache",
    r"?:\ProgramData\ssh",
    r"?:\ProgramData\Start Menu",
    r"?:\Recovery",
    r"?:\swapfile.sys",
    r"?:\System Volume Information",
    r"?:\Users",
    r"?:\Windows",
    r"?:\Windows.old",
    r"?:\WinNT",
];

/// Keys of the registry: `SYSTEM` holds services and drivers; `Microsoft` and `Policies` what runs by itself (Run,
/// Winlogon, Image File Execution Options, AppInit_DLLs, AutoRun and the like); `Classes` and `Clients` what is run
/// for files and objects; `HKU` the same for each user.
const REGISTRY: &[&str] = &[
    r"HKLM\BCD00000000",
    r"HKLM\COMPONENTS",
    r"HKLM\DRIVERS",
    r"HKLM\HARDWARE",
    r"HKLM\SAM",
    r"HKLM\SECURITY",
    r"HKLM\SOFTWARE\Classes",
    r"HKLM\SOFTWARE\Clients",
    r"HKLM\SOFTWARE\Microsoft",
    r"HKLM\SOFTWARE\OpenSSH",
    r"HKLM\SOFTWARE\Policies",
    r"HKLM\SOFTWARE\RegisteredApplications",
    r"HKLM\SYSTEM",
    "HKU",
];

/// Folders and files that are denied unless an allowed place names them or lies in them.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    LINUX.iter().chain(WINDOWS).copied()
}

/// The same of keys of the registry.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().copied()
}

/// Accounts of Windows that services may run as. Whom they stand for is asked of the machine.
pub(super) const ACCOUNTS_OF_WINDOWS: &[&str] =
    &[r"NT AUTHORITY\LocalService", r"NT AUTHORITY\NetworkService", r"NT SERVICE\*"];

/// Accounts of Linux that services may run as: a `*` stands for none that is an administrator's.
pub(super) const ACCOUNTS_OF_LINUX: &[&str] = &["*"];

/// The registry's keys of the agent, which no policy gives away.
pub(super) const RESERVED_KEYS: &[&str] = &[r"HKLM\SOFTWARE\windlass"];

/// The first words of names of services that are the agent's own.
pub(super) const RESERVED_SERVICES: &str = "windlass-";
