package srttest

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"srtrelay/wire"
)

// Style is the caller whose habits a Session copies.
type Style int

const (
	// LibsrtAsync is ffmpeg, srt-live-transmit and SRS: repeats its request
	// every 256 ms with a fresh timestamp, and its CONCLUSION at once when
	// anything but a handshake comes too early.
	LibsrtAsync Style = iota
	// Blocking is a blocking srt_connect: repeats every second, and insists on
	// its own ISN in the response.
	Blocking
	// Gosrt never repeats anything, has ISN 0 in its INDUCTION and a 32-bit
	// socket ID, sends another CONCLUSION with another key for each INDUCTION
	// reply, and dies of a second CONCLUSION response.
	Gosrt
)

func (s Style) period() time.Duration {
	return [...]time.Duration{LibsrtAsync: 256 * time.Millisecond, Blocking: time.Second, Gosrt: 0}[s]
}

// KeyLenAuto is a caller with a passphrase and no key length of its own: it
// takes what the INDUCTION reply advertises, else AES-128.
const KeyLenAuto = -1

// CallerOptions describes a session. The zero value is an asynchronous libsrt
// caller without a stream ID.
type CallerOptions struct {
	Style    Style
	Version  uint32 // 0 = 5; 4 is an HSv4 caller: 64-byte CONCLUSION, no extensions
	SocketID uint32 // 0 = random
	ISN      uint32 // 0 = random
	StreamID string
	// SecondStreamID puts a second SID block behind the first.
	SecondStreamID string
	KeyLen         int    // bytes: 16, 24, 32, KeyLenAuto; 0 = no encryption
	GroupID        uint32 // 0 = no group; libsrt's have bit 30 set
	Congestion     string
	Filter         string
	Latency        uint16 // ms; 0 = 120
	// Order of the blocks; nil = the style's. Blocks that do not apply are left out.
	Order []wire.BlockType
	// Extensions, if not nil, is sent behind the control information field
	// instead of all blocks.
	Extensions []byte
	// Flags replaces the computed extension field, if not 0.
	Flags uint16
	// OmitConfigFlag clears the CONFIG flag although there are such blocks.
	OmitConfigFlag bool
	Timeout        time.Duration // 0 = 3 s
	// Age is how long the socket has been open: its timestamps count from then.
	Age time.Duration
	// Manual sends nothing but what the test asks for, not even a CONCLUSION.
	Manual bool
	// RecvBuffer makes Session.Recv deliver; what does not fit is counted.
	RecvBuffer int
	// OnPacket is called for each packet of the established session on the
	// port's reader, b being borrowed.
	OnPacket func(s *Session, b []byte)
}

const (
	srtVersion   = 0x00010501
	libsrtFlags  = 0xBF
	gosrtFlags   = 0x3F // TSBPD both ways, CRYPT, TLPKTDROP, NAKREPORT, REXMITFLG
	maxMSS       = 1500
	minMSS       = 32
	minWindow    = 2
	defaultSpace = 8192
	defaultDelay = 120
	keyUnit      = 8
)

func (o *CallerOptions) fill() {
	if o.Version == 0 {
		o.Version = 5
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.Latency == 0 {
		o.Latency = defaultDelay
	}
	if o.Order == nil {
		o.Order = []wire.BlockType{
			wire.BlockHSReq, wire.BlockSID, wire.BlockCongestion,
			wire.BlockFilter, wire.BlockGroup, wire.BlockKMReq,
		}
		if o.Style == Gosrt {
			o.Order = []wire.BlockType{wire.BlockHSReq, wire.BlockKMReq, wire.BlockSID, wire.BlockCongestion}
		}
	}
}

// blocks builds the extensions and the flags that announce them.
func (o *CallerOptions) blocks(km []byte) (b []byte, flags uint16) {
	for _, t := range o.Order {
		before := len(b)
		flag := uint16(wire.FlagConfig)
		switch t {
		case wire.BlockHSReq:
			flag = wire.FlagHSReq
			f := wire.Features{Version: srtVersion, Flags: libsrtFlags, RecvDelay: o.Latency, SendDelay: o.Latency}
			if o.Style == Gosrt {
				f.Flags = gosrtFlags
			}
			b = wire.AppendFeatures(b, t, f)
		case wire.BlockKMReq:
			flag = wire.FlagKMReq
			if km != nil {
				b = wire.AppendBlock(b, t, km)
			}
		case wire.BlockGroup:
			if o.GroupID != 0 {
				b = wire.AppendBlock(b, t, groupContent(o.GroupID))
			}
		case wire.BlockSID:
			b = appendText(b, t, o.StreamID)
			b = appendText(b, t, o.SecondStreamID)
		case wire.BlockCongestion:
			b = appendText(b, t, o.Congestion)
		case wire.BlockFilter:
			b = appendText(b, t, o.Filter)
		}
		if len(b) > before {
			flags |= flag
		}
	}
	if o.Extensions != nil {
		b = o.Extensions
	}
	if o.OmitConfigFlag {
		flags &^= wire.FlagConfig
	}
	if o.Flags != 0 {
		flags = o.Flags
	}
	return b, flags
}

func appendText(b []byte, t wire.BlockType, s string) []byte {
	if s == "" {
		return b
	}
	return wire.AppendString(b, t, s)
}

const groupBroadcast = 1 << 24

func groupContent(id uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, id), groupBroadcast)
}

// keyMaterial makes a KMREQ content of the right shape around random bytes:
// one even key, AES-CTR, salt of 16 bytes.
func keyMaterial(keyLen int) []byte {
	const head, salt, wrap = 16, 16, 8
	km := make([]byte, head+salt+keyLen+wrap)
	rand.Read(km[head:])
	km[0], km[1], km[2], km[3] = 0x12, 0x20, 0x29, 1
	km[8], km[10] = 2, 2
	km[14], km[15] = salt/4, byte(keyLen/4)
	return km
}
