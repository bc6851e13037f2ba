package udp

// Options are the choices that hold for every socket of a relay.
type Options struct {
	// RecvBuf and SendBuf are the buffer sizes to ask for, in bytes per
	// socket; 0 leaves the kernel's default. Best effort: what was granted is
	// Socket.GrantedBuffers.
	RecvBuf, SendBuf int
	// GRO and GSO allow the offloads. False keeps them off even where the
	// kernel has them: some of its bugs can be seen only by the operator.
	GRO, GSO bool
	// Steer has a front group's datagrams go to the member whose shard runs on
	// the CPU that they came in on: Steer[i] is that of member i. What comes in
	// on any other CPU, and everything with an empty Steer, goes by the flow
	// hash.
	//
	// It keeps a packet's memory within one core, on hosts where a flow always
	// comes in on the same CPU: the card's queues are pinned, and neither RPS
	// nor irqbalance moves them. A flow that moves to another CPU moves to
	// another shard, which does not know it.
	Steer []int
}

// Caps is what a socket can do, probed when it was opened. Whether the route to
// a destination can do GSO shows only when sending; an outbox remembers.
type Caps struct {
	GRO bool // datagrams of a flow arrive as trains
	GSO bool // runs leave as superpackets
}
