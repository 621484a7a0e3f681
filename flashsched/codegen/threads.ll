; The fork-join runtime. docs/design/0004-threads.md says why it is built this way; threads.py fills in the words
; between @ signs, which differ between systems, and compiles it once in each process.
;
; A job is "run task(context, begin, end) over all of 0..n, in pieces". One thread owns the pool at a time. It writes
; the job down, opens it, takes pieces itself, closes it, and waits for the workers that entered. A worker that comes
; late finds the job closed and is not waited for, so a job never takes longer for having workers asleep.
;
; 0..n is cut into a share for each thread. A thread takes pieces of its own share first, which is the same part of the
; arrays from call to call, so that its caches have them; then what others have left.

%share = type [16 x i64]

; generation << 32 | open << 31 | number of workers inside the job
@state = internal global [16 x i64] zeroinitializer, align 128
; the shares of the threads: the first index that nobody has taken yet, and the end
@shares = internal global [@MAX_THREADS@ x %share] zeroinitializer, align 128
@owned = internal global [32 x i32] zeroinitializer, align 128         ; 1 while a thread owns the pool
@parked = internal global [32 x i32] zeroinitializer, align 128        ; workers that sleep, or are about to
@wanted = internal global i32 1, align 128                             ; threads, the caller among them
@workers = internal global i32 0                                       ; workers that have been started
@names = internal global i64 0                                         ; the last number that a worker has called itself
@limit = internal global i64 0                                         ; workers that may enter this job
@task = internal global ptr null
@context = internal global ptr null
@threads = internal global i64 0                                       ; shares that there are
@chunk = internal global i64 0
@core = internal global i32 -1                                         ; the core that the owner was on when it opened the job
@mutex = internal global [256 x i8] zeroinitializer, align 64          ; more than any system's pthread_mutex_t
@awake = internal global [256 x i8] zeroinitializer, align 64

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(ptr)
declare i32 @pthread_attr_init(ptr)
declare i32 @pthread_attr_setstacksize(ptr, i64)
declare i32 @pthread_attr_destroy(ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i32 @sigdelset(ptr, i32)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
declare void @@PAUSE_NAME@(@PAUSE_TYPE@)

; Start anew, with no workers: at first, and in the child of a fork, where only the forking thread lives on.
define void @fs_reset() {
  store atomic i64 0, ptr @state seq_cst, align 8
  store atomic i32 0, ptr @parked seq_cst, align 4
  store i32 0, ptr @workers
  store atomic i64 0, ptr @names monotonic, align 8
  call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  call i32 @pthread_cond_init(ptr @awake, ptr null)
  store atomic i32 0, ptr @owned seq_cst, align 4
  ret void
}

define void @fs_set_threads(i32 %n) {
  store atomic i32 %n, ptr @wanted monotonic, align 4
  ret void
}

define i32 @fs_threads() {
  %n = load atomic i32, ptr @wanted monotonic, align 4
  ret i32 %n
}

define i32 @fs_workers() {
  %n = load i32, ptr @workers
  ret i32 %n
}

define void @fs_parallel_for(ptr %task, ptr %context, i64 %n) {
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %check, label %done
check:
  %wanted = load atomic i32, ptr @wanted monotonic, align 4
  %one.thread = icmp sle i32 %wanted, 1
  %one.turn = icmp eq i64 %n, 1
  %alone = or i1 %one.thread, %one.turn
  br i1 %alone, label %serial, label %own
own:                                      ; busy: a task of ours that forks again, or another thread's job
  %try = cmpxchg ptr @owned, i32 0, i32 1 acquire monotonic, align 4
  %got = extractvalue { i32, i1 } %try, 1
  br i1 %got, label %start, label %serial
serial:
  call void %task(ptr %context, i64 0, i64 %n)
  ret void
start:
  %workers = call i64 @start_workers(i32 %wanted)
  %any = icmp sgt i64 %workers, 0
  br i1 %any, label %publish, label %give.up
give.up:
  store atomic i32 0, ptr @owned release, align 4
  br label %serial
publish:                                  ; nobody is inside, so nobody reads these
  %threads = add i64 %workers, 1
  %pieces = mul i64 %threads, 8
  %even = udiv i64 %n, %pieces
  %chunk = call i64 @llvm.umax.i64(i64 %even, i64 1)
  call void @say_core()
  store ptr %task, ptr @task
  store ptr %context, ptr @context
  store i64 %threads, ptr @threads
  store i64 %chunk, ptr @chunk
  store atomic i64 %workers, ptr @limit monotonic, align 8
  %each = udiv i64 %n, %threads
  %more = urem i64 %n, %threads           ; so many shares have one index more
  br label %share
share:
  %i = phi i64 [ 0, %publish ], [ %i.1, %share ]
  %begin = phi i64 [ 0, %publish ], [ %end, %share ]
  %longer = icmp ult i64 %i, %more
  %one = zext i1 %longer to i64
  %size = add i64 %each, %one
  %end = add i64 %begin, %size
  %next.at = getelementptr %share, ptr @shares, i64 %i
  %end.at = getelementptr i64, ptr %next.at, i64 1
  store atomic i64 %begin, ptr %next.at monotonic, align 8
  store i64 %end, ptr %end.at
  %i.1 = add i64 %i, 1
  %shared = icmp eq i64 %i.1, %threads
  br i1 %shared, label %open.up, label %share
open.up:
  %old = load atomic i64, ptr @state monotonic, align 8
  %generation = and i64 %old, -4294967296
  %after = add i64 %generation, 4294967296
  %open = or i64 %after, 2147483648
  store atomic i64 %open, ptr @state seq_cst, align 8
  %parked = load atomic i32, ptr @parked seq_cst, align 4
  %asleep = icmp sgt i32 %parked, 0
  br i1 %asleep, label %wake, label %work
wake:
  call i32 @pthread_mutex_lock(ptr @mutex)
  call i32 @pthread_cond_broadcast(ptr @awake)
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %work
work:
  call void @take_pieces(i64 0)
  %closed = atomicrmw and ptr @state, i64 -2147483649 acq_rel, align 8
  br label %wait
wait:
  %turn = phi i32 [ 0, %work ], [ %turn.1, %pause ], [ %turn, %yield ]
  %now = load atomic i64, ptr @state acquire, align 8
  %inside = and i64 %now, 2147483647
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %leave, label %patience
patience:                                 ; a worker that was put off its core needs ours
  %patient = icmp ult i32 %turn, 200
  br i1 %patient, label %pause, label %yield
pause:
  call void @@PAUSE@
  %turn.1 = add i32 %turn, 1
  br label %wait
yield:
  call i32 @sched_yield()
  br label %wait
leave:
  store atomic i32 0, ptr @owned release, align 4
  br label %done
done:
  ret void
}

; Run pieces of the job until all are taken, those of share %self first.
define internal void @take_pieces(i64 %self) {
entry:
  %task = load ptr, ptr @task
  %context = load ptr, ptr @context
  %threads = load i64, ptr @threads
  %chunk = load i64, ptr @chunk
  br label %share
share:
  %turn = phi i64 [ 0, %entry ], [ %turn.1, %empty ]
  %i = phi i64 [ %self, %entry ], [ %i.1, %empty ]
  %next.at = getelementptr %share, ptr @shares, i64 %i
  %end.at = getelementptr i64, ptr %next.at, i64 1
  %end = load i64, ptr %end.at
  br label %look
look:                                     ; reading leaves the line to whoever takes pieces of it
  %next = load atomic i64, ptr %next.at monotonic, align 8
  %left = icmp slt i64 %next, %end
  br i1 %left, label %take, label %empty
take:
  %begin = atomicrmw add ptr %next.at, i64 %chunk monotonic, align 8
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %run, label %empty
run:
  %full = add i64 %begin, %chunk
  %until = call i64 @llvm.smin.i64(i64 %full, i64 %end)
  call void %task(ptr %context, i64 %begin, i64 %until)
  br label %look
empty:
  %turn.1 = add i64 %turn, 1
  %after = add i64 %i, 1
  %last = icmp eq i64 %after, %threads
  %i.1 = select i1 %last, i64 0, i64 %after
  %all = icmp eq i64 %turn.1, %threads
  br i1 %all, label %done, label %share
done:
  ret void
}

; Start what is missing of %wanted - 1 workers; returns how many this job may use. Only the owner calls it.
define internal i64 @start_workers(i32 %wanted) {
entry:
  %attributes = alloca [256 x i8], align 16
  %all = alloca [256 x i8], align 16
  %before = alloca [256 x i8], align 16
  %thread = alloca ptr, align 8
  %target = sub i32 %wanted, 1
  %have = load i32, ptr @workers
  %enough = icmp sge i32 %have, %target
  br i1 %enough, label %done, label %prepare
prepare:                                  ; signals belong to the program's own threads, but a crash stays a crash
  call i32 @sigfillset(ptr %all)
  @UNBLOCK@
  call i32 @pthread_sigmask(i32 @SIG_SETMASK@, ptr %all, ptr %before)
  call i32 @pthread_attr_init(ptr %attributes)
  call i32 @pthread_attr_setstacksize(ptr %attributes, i64 8388608)
  %state = load atomic i64, ptr @state monotonic, align 8
  %generation = lshr i64 %state, 32
  %seen = inttoptr i64 %generation to ptr
  br label %create
create:
  %started = load i32, ptr @workers
  %more = icmp slt i32 %started, %target
  br i1 %more, label %try, label %restore
try:
  %failed = call i32 @pthread_create(ptr %thread, ptr %attributes, ptr @worker, ptr %seen)
  %ok = icmp eq i32 %failed, 0
  br i1 %ok, label %count, label %fewer
count:
  %handle = load ptr, ptr %thread
  call i32 @pthread_detach(ptr %handle)
  %started.1 = add i32 %started, 1
  store i32 %started.1, ptr @workers
  br label %create
fewer:                                    ; the system has no thread left for us: make do from now on
  %reached = add i32 %started, 1
  store atomic i32 %reached, ptr @wanted monotonic, align 4
  br label %restore
restore:
  call i32 @pthread_attr_destroy(ptr %attributes)
  call i32 @pthread_sigmask(i32 @SIG_SETMASK@, ptr %before, ptr null)
  br label %done
done:
  %total = load i32, ptr @workers
  %use = call i32 @llvm.smin.i32(i32 %total, i32 %target)
  %use.64 = sext i32 %use to i64
  ret i64 %use.64
}

; A worker's life: watch for a new generation, for a while by spinning and then asleep; enter its job if it is open.
define internal ptr @worker(ptr %first) {
entry:
  %clock = alloca { i64, i64 }, align 8
  %first.64 = ptrtoint ptr %first to i64
  %name = atomicrmw add ptr @names, i64 1 monotonic, align 8
  %self = add i64 %name, 1                ; the owner is 0
  br label %idle
idle:
  %seen = phi i64 [ %first.64, %entry ], [ %generation, %refused ], [ %generation, %leave ]
  %spin.from = call i64 @nanoseconds(ptr %clock)
  br label %spin
spin:
  %turn = phi i32 [ 0, %idle ], [ %turn.1, %pause ], [ 0, %look ]
  %spun = load atomic i64, ptr @state acquire, align 8
  %spun.generation = lshr i64 %spun, 32
  %same = icmp eq i64 %spun.generation, %seen
  br i1 %same, label %still, label %enter
still:
  call void @@PAUSE@
  %turn.1 = add i32 %turn, 1
  %often = icmp ult i32 %turn.1, 64
  br i1 %often, label %pause, label %look
pause:
  br label %spin
look:                                     ; whoever waits for this core may be the one that we wait for
  call i32 @sched_yield()
  %now = call i64 @nanoseconds(ptr %clock)
  %elapsed = sub i64 %now, %spin.from
  %young = icmp ult i64 %elapsed, @SPIN_NS@
  br i1 %young, label %spin, label %park
park:                                     ; the owner opens a job, then reads @parked; we do the opposite
  call i32 @pthread_mutex_lock(ptr @mutex)
  %parked = atomicrmw add ptr @parked, i32 1 seq_cst, align 4
  br label %doze
doze:
  %dozed = load atomic i64, ptr @state seq_cst, align 8
  %dozed.generation = lshr i64 %dozed, 32
  %nothing = icmp eq i64 %dozed.generation, %seen
  br i1 %nothing, label %sleep, label %rise
sleep:
  call i32 @pthread_cond_wait(ptr @awake, ptr @mutex)
  br label %doze
rise:
  %left = atomicrmw sub ptr @parked, i32 1 seq_cst, align 4
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %enter
enter:
  %state = load atomic i64, ptr @state acquire, align 8
  %generation = lshr i64 %state, 32
  %open = and i64 %state, 2147483648
  %closed = icmp eq i64 %open, 0
  %limit = load atomic i64, ptr @limit monotonic, align 8
  %idle.now = icmp ugt i64 %self, %limit   ; it has no share: fewer threads are wanted than there were
  %no = or i1 %closed, %idle.now
  br i1 %no, label %refused, label %claim
refused:
  br label %idle
claim:
  %entered = add i64 %state, 1
  %try = cmpxchg ptr @state, i64 %state, i64 %entered acq_rel monotonic, align 8
  %got = extractvalue { i64, i1 } %try, 1
  br i1 %got, label %work, label %enter
work:
  call void @avoid_core()
  call void @take_pieces(i64 %self)
  br label %leave
leave:
  %was = atomicrmw sub ptr @state, i64 1 acq_rel, align 8
  br label %idle
}

@CORES@

define internal i64 @nanoseconds(ptr %clock) {
  call i32 @clock_gettime(i32 @CLOCK_MONOTONIC@, ptr %clock)
  %seconds = load i64, ptr %clock
  %rest.at = getelementptr { i64, i64 }, ptr %clock, i32 0, i32 1
  %rest = load i64, ptr %rest.at
  %whole = mul i64 %seconds, 1000000000
  %all = add i64 %whole, %rest
  ret i64 %all
}

declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare i32 @llvm.smin.i32(i32, i32)
