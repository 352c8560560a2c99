//! What can be wrong between Bailey and a device, in words for people: what it is, and where to
//! look.

use bailey_rules::text::Text;

use crate::poll::credentials::{AuthProtocol, PrivProtocol};

/// What is wrong. Its [`name`](Fault::name) is stable: programs may rely on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing answers at all.
    NoAnswer,
    /// The machine says that nobody listens at the port.
    PortUnreachable,
    /// There is no way to the machine.
    NetworkUnreachable {
        /// What the system said.
        why: String,
    },
    /// The agent is there, but silent to the community.
    Community,
    /// The device speaks another version.
    Version {
        /// The one it speaks.
        speaks: &'static str,
    },
    /// The device knows no such user.
    User,
    /// The user has no key for this level on the device.
    LevelTooHigh {
        /// The highest level that the user has there.
        has: &'static str,
    },
    /// The user has keys on the device that were not used.
    LevelTooLow {
        /// The level that was asked with.
        asked: &'static str,
        /// The level that the device wants.
        wants: &'static str,
    },
    /// The passphrase is right, the authentication protocol is not.
    AuthProtocol {
        /// The device's.
        device: AuthProtocol,
    },
    /// No authentication protocol fits the passphrase.
    AuthKey,
    /// The privacy protocol is wrong.
    PrivacyProtocol {
        /// The device's.
        device: PrivProtocol,
        /// Whether the passphrase is known to be right with it.
        proven: bool,
    },
    /// No privacy protocol that was tried fits the passphrase.
    PrivacyKey {
        /// Whether the device may use DES, which is not tried in place of AES.
        perhaps_des: bool,
    },
    /// The device does not accept its own time back.
    EngineTime,
    /// The device has another engine id than the file demands.
    EngineId {
        /// The device's, in hexadecimal.
        device: String,
    },
    /// The device does not know the context.
    Context,
    /// The credentials are right, but show nothing of what is needed.
    View {
        /// What is hidden or missing.
        missing: &'static str,
    },
    /// What answers does not speak SNMP as it is written.
    Malformed {
        /// What is wrong with it.
        why: String,
    },
    /// The device answers with an error of its own.
    Device {
        /// The error.
        why: Text,
    },
}

impl Fault {
    /// The name for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::PortUnreachable => "port-unreachable",
            Self::NetworkUnreachable { .. } => "network-unreachable",
            Self::Community => "community",
            Self::Version { .. } => "version",
            Self::User => "user",
            Self::LevelTooHigh { .. } | Self::LevelTooLow { .. } => "security-level",
            Self::AuthProtocol { .. } => "auth-protocol",
            Self::AuthKey => "auth-key",
            Self::PrivacyProtocol { .. } => "privacy-protocol",
            Self::PrivacyKey { .. } => "privacy-key",
            Self::EngineTime => "engine-time",
            Self::EngineId { .. } => "engine-id",
            Self::Context => "context",
            Self::View { .. } => "view",
            Self::Malformed { .. } => "malformed",
            Self::Device { .. } => "device-error",
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn said(&self) -> Text {
        match self {
            Self::NoAnswer => {
                Text::new("nothing answers at this address and port", "该地址和端口没有任何应答")
            }
            Self::PortUnreachable => Text::new(
                "the machine answers that nobody listens at this port",
                "主机应答：该端口无人监听",
            ),
            Self::NetworkUnreachable { why } => Text::new(
                format!("there is no way to the machine: {why}"),
                format!("无法到达该主机：{why}"),
            ),
            Self::Community => Text::new(
                "an SNMP agent is there, but it is silent to this community",
                "SNMP 代理在运行，但不应答该团体名",
            ),
            Self::Version { speaks } => Text::new(
                format!("the device answers, but only to SNMP{speaks}"),
                format!("设备只应答 SNMP{speaks}"),
            ),
            Self::User => Text::new("the device knows no user of this name", "设备上没有该用户"),
            Self::LevelTooHigh { has } => Text::new(
                format!("the device knows the user, but only with keys for {has}"),
                format!("设备上该用户的密钥只支持 {has}"),
            ),
            Self::LevelTooLow { asked, wants } => Text::new(
                format!("the device refuses the user at {asked}; it has keys for {wants} there"),
                format!("设备拒绝该用户以 {asked} 访问；设备上该用户配有 {wants} 的密钥"),
            ),
            Self::AuthProtocol { device } => Text::new(
                format!(
                    "the authentication protocol is wrong: the device uses {device}, with this passphrase"
                ),
                format!("认证协议不对：设备使用 {device}，口令相同"),
            ),
            Self::AuthKey => Text::new(
                "the authentication passphrase is wrong: no protocol fits it",
                "认证口令不对：所有认证协议均不匹配",
            ),
            Self::PrivacyProtocol { device, proven: true } => Text::new(
                format!(
                    "the privacy protocol is wrong: the device uses {device}, with this passphrase"
                ),
                format!("加密协议不对：设备使用 {device}，口令相同"),
            ),
            Self::PrivacyProtocol { device, proven: false } => Text::new(
                format!(
                    "the privacy protocol is wrong: the device uses {device}; whether the passphrase is right was not tried"
                ),
                format!("加密协议不对：设备使用 {device}；口令是否正确未作尝试"),
            ),
            Self::PrivacyKey { perhaps_des: false } => Text::new(
                "the privacy passphrase is wrong: authentication is right, but no privacy protocol fits",
                "加密口令不对：认证正确，但所有加密协议均不匹配",
            ),
            Self::PrivacyKey { perhaps_des: true } => Text::new(
                "the privacy passphrase is wrong, or the device uses DES: authentication is right, but no AES fits",
                "加密口令不对，或设备使用 DES：认证正确，但各种 AES 均不匹配",
            ),
            Self::EngineTime => Text::new(
                "the device refuses its own time: its count of starts or its clock is broken",
                "设备不接受自己给出的时间：其启动计数或时钟有误",
            ),
            Self::EngineId { device } => Text::new(
                format!(
                    "the device has the engine id {device}, not the one the file demands: it was replaced or set up anew, or another one stands here"
                ),
                format!(
                    "设备的引擎标识为 {device}，与文件要求的不同：设备已更换或重新配置，或此处是另一台设备"
                ),
            ),
            Self::Context => Text::new(
                "the device does not know this context; without one it answers",
                "设备没有该上下文；不带上下文时设备有应答",
            ),
            Self::View { missing } => Text::new(
                format!("the credentials are right, but they show nothing of {missing}"),
                format!("凭据正确，但看不到 {missing} 的任何内容"),
            ),
            Self::Malformed { why } => Text::new(
                format!("what answers does not speak SNMP as it is written: {why}"),
                format!("应答不符合 SNMP 规范：{why}"),
            ),
            Self::Device { why } => Text::new(
                format!("the device cannot answer: {}", why.en),
                format!("设备无法应答：{}", why.zh),
            ),
        }
    }

    /// Where to look, the likeliest first.
    #[must_use]
    pub fn next(&self) -> Vec<Text> {
        match self {
            Self::NoAnswer => vec![
                Text::new(
                    "does the device answer to ping, and is its SNMP agent on?",
                    "设备能否 ping 通，SNMP 代理是否开启？",
                ),
                Text::new(
                    "does a firewall or an access list on the way or on the device let UDP to this port through from here?",
                    "途经或设备上的防火墙、访问列表是否允许本机到该端口的 UDP？",
                ),
                Text::new(
                    "snmpd.conf: agentAddress names the interface and port that are listened at; by default it is 127.0.0.1 alone",
                    "snmpd.conf：agentAddress 决定监听的接口和端口，默认只有 127.0.0.1",
                ),
                Text::new(
                    "switch: \"snmp-agent\" and \"snmp-agent sys-info version v3\" (Huawei, H3C), \"snmp-server\" with its access list (Cisco)",
                    "交换机：snmp-agent 与 snmp-agent sys-info version v3（华为、H3C），snmp-server 及其访问列表（Cisco）",
                ),
            ],
            Self::PortUnreachable => vec![
                Text::new(
                    "is the agent started, and is the port right? Agents listen at 161",
                    "代理是否已启动，端口是否正确？代理默认监听 161",
                ),
                Text::new("snmpd.conf: agentAddress udp:161", "snmpd.conf：agentAddress udp:161"),
            ],
            Self::NetworkUnreachable { .. } => vec![Text::new(
                "is there a route from this machine (ip route get ADDRESS), and is the zone right?",
                "本机是否有到该地址的路由（ip route get 地址），安全域是否正确？",
            )],
            Self::Community => vec![
                Text::new(
                    "snmpd.conf: rocommunity NAME SOURCE; is the community written so, and is this machine within SOURCE?",
                    "snmpd.conf：rocommunity 团体名 来源；团体名是否一致，本机是否在来源范围内？",
                ),
                Text::new(
                    "switch: \"snmp-agent community read\" (Huawei, H3C), \"snmp-server community NAME ro ACL\" (Cisco)",
                    "交换机：snmp-agent community read（华为、H3C），snmp-server community 团体名 ro ACL（Cisco）",
                ),
                Text::new(
                    "the agent speaks SNMPv3: a user is safer than a community",
                    "该代理支持 SNMPv3：用户方式比团体名更安全",
                ),
            ],
            Self::Version { speaks } => vec![Text::new(
                format!(
                    "write \"version: {speaks}\" in the credentials file, or switch the newer version on at the device"
                ),
                format!("在凭据文件中写 version: {speaks}，或在设备上启用较新的版本"),
            )],
            Self::User => vec![
                Text::new(
                    "snmpd.conf: createUser NAME ... and rouser NAME; names are case sensitive",
                    "snmpd.conf：createUser 用户名 ... 以及 rouser 用户名；区分大小写",
                ),
                Text::new(
                    "switch: \"display snmp-agent usm-user\" (Huawei, H3C), \"show snmp user\" (Cisco)",
                    "交换机：display snmp-agent usm-user（华为、H3C），show snmp user（Cisco）",
                ),
            ],
            Self::LevelTooHigh { .. } => vec![Text::new(
                "create the user on the device with both keys (createUser NAME SHA-256 ... AES ...), or leave out of the file what it has not",
                "在设备上为用户配置两个密钥（createUser 用户名 SHA-256 ... AES ...），或从文件中去掉设备没有的部分",
            )],
            Self::LevelTooLow { wants, .. } => vec![Text::new(
                format!(
                    "add what {wants} needs to the credentials file (auth:, priv:), or lower the level of the user's group on the device"
                ),
                format!(
                    "在凭据文件中补上 {wants} 所需的部分（auth:、priv:），或降低设备上该用户组的级别"
                ),
            )],
            Self::AuthProtocol { device } => vec![Text::new(
                format!("write \"protocol: {device}\" under \"auth:\" in the credentials file"),
                format!("在凭据文件的 auth: 下写 protocol: {device}"),
            )],
            Self::AuthKey => vec![
                Text::new(
                    "set the passphrase anew on the device and in the file; a changed engine id makes old keys of the device void",
                    "在设备和文件中重新设置口令；引擎标识改变后，设备原有密钥失效",
                ),
                Text::new(
                    "snmpd.conf: stop snmpd before createUser is written; an existing user in the persistent file is not changed by it",
                    "snmpd.conf：写 createUser 前须停止 snmpd；持久化文件中已有的用户不会被它更改",
                ),
            ],
            Self::PrivacyProtocol { device, .. } => vec![Text::new(
                format!("write \"protocol: {device}\" under \"priv:\" in the credentials file"),
                format!("在凭据文件的 priv: 下写 protocol: {device}"),
            )],
            Self::PrivacyKey { perhaps_des } => {
                let mut next = vec![Text::new(
                    "set the privacy passphrase anew on the device and in the file",
                    "在设备和文件中重新设置加密口令",
                )];
                if *perhaps_des {
                    next.push(Text::new(
                        "does the device use DES? It is not tried by itself: a message under it would give the AES key away. Better set AES on the device",
                        "设备是否使用 DES？不会自动尝试：用它发送报文会泄露 AES 密钥。建议在设备上改用 AES",
                    ));
                }
                next
            }
            Self::EngineTime => vec![
                Text::new(
                    "start the device's agent anew; if its count of starts stands at 2147483647, its engine id must be set anew (RFC 3414 2.2.2)",
                    "重启设备的 SNMP 代理；若启动计数为 2147483647，须重新设置引擎标识（RFC 3414 2.2.2）",
                ),
                Text::new(
                    "does every device have an engine id of its own? Cloned ones disturb each other",
                    "各设备的引擎标识是否唯一？克隆的设备会互相干扰",
                ),
            ],
            Self::EngineId { .. } => vec![Text::new(
                "make sure that it is the device you mean, then write its engine id to the file, or remove engine_id",
                "确认是所指的设备后，将其引擎标识写入文件，或删去 engine_id",
            )],
            Self::Context => vec![Text::new(
                "remove \"context:\" from the file, or create the context on the device",
                "从文件中删去 context:，或在设备上创建该上下文",
            )],
            Self::View { .. } => vec![
                Text::new(
                    "snmpd.conf: rouser NAME or rocommunity NAME SOURCE without an OID shows everything; or \"view all included .1\" with access",
                    "snmpd.conf：rouser 用户名 或 rocommunity 团体名 来源（不带 OID）可看到全部；或 view all included .1 并配 access",
                ),
                Text::new(
                    "switch: \"snmp-agent mib-view included VIEW iso\" and its group (Huawei, H3C), \"snmp-server view VIEW iso included\" and its group (Cisco)",
                    "交换机：snmp-agent mib-view included 视图 iso 及其用户组（华为、H3C），snmp-server view 视图 iso included 及其用户组（Cisco）",
                ),
            ],
            Self::Malformed { .. } => vec![Text::new(
                "is it an SNMP agent that listens there? Update the device's firmware",
                "该端口上监听的是否为 SNMP 代理？请更新设备固件",
            )],
            Self::Device { .. } => vec![Text::new(
                "look at the device's own log, and start its agent anew",
                "查看设备自身日志，并重启其 SNMP 代理",
            )],
        }
    }
}
