// Opens a serial port from Go, once.
//
//	serial_port PATH
//
// All the while another goroutine computes, so that the runtime preempts it, and the thread that
// opens gets the runtime's own signal for that every few milliseconds. Its handler has SA_RESTART,
// so the kernel makes the call again after each of them.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

var spun, signals int64

func compute() {
	for {
		spun++
	}
}

func preempt(thread int, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if syscall.Tgkill(os.Getpid(), thread, syscall.SIGURG) == nil {
			atomic.AddInt64(&signals, 1)
		}
	}
}

func main() {
	runtime.GOMAXPROCS(2)
	runtime.LockOSThread()
	done := make(chan struct{})
	go compute()
	go preempt(syscall.Gettid(), done)

	start := time.Now()
	port, err := syscall.Open(os.Args[1], syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	milliseconds := time.Since(start).Milliseconds()
	close(done)
	if err != nil {
		fmt.Println("open failed", milliseconds, err)
	} else {
		fmt.Println("open ok", milliseconds)
		written, err := syscall.Write(port, []byte{0})
		fmt.Println("write", written, err)
	}
	fmt.Println("signals", atomic.LoadInt64(&signals))
}
