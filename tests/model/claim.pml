/*
 * Locks of claim files and link(2), for spin(1): may anybody ever remove a lock that
 * is not the one it means to, so that two are inside?
 *
 * Without a define it is the algorithm of lib/claim-file.c; with PUBLISHED the one
 * that is published (open(2), flufl.lock): look whether the lock is ours, or has
 * expired, then unlink the name.  test-model runs both.
 *
 * With STEAL, who breaks takes the right also from one that lives, which goes on.
 *
 * Each step is what one system call does.  A file is its maker's number; `lock` is
 * the file that the lock's name leads to, 0: none.  A claim file has a name, a
 * number that grows with each hold, which `content` is when it is the lock's; or it
 * is a right: HELD_BY(who).  Time is what may happen at any moment: a hold
 * expires, whether its holder is about to go on or not, and a process dies.  A hold
 * that has expired protects nobody any more, so it does not count as inside; but its
 * holder goes on and gives back what it thinks it has.
 */
#define PROCESSES 3
/* How often each breaks, if there is something to break, and acquires.  Two rounds
 * for all take minutes. */
#define ROUNDS_OF(me) (me == 1 -> 2 : ROUNDS)
#ifndef ROUNDS
#define ROUNDS 1
#endif

#define GONE 200
#define HELD_BY(who) (100 + (who))
#define IS_RIGHT(name) (name >= 100 && name < GONE)

/* With ALTERNATE, two names take turns: a breaker that looked at one hold can then
 * take the right of a later one, and die with it. */
#ifdef ALTERNATE
#define NEXT(name) (1 - name)
#else
#define NEXT(name) (name + 1)
#endif

#ifdef STEAL
#define STOLEN true
#else
#define STOLEN false
#endif

byte lock;
byte inside;
byte name[PROCESSES + 1]; /* a number, HELD_BY(), or GONE */
byte content[PROCESSES + 1];
byte hold[PROCESSES + 1];    /* the file's time: another for each hold */
bool expired[PROCESSES + 1];
bool dead[PROCESSES + 1];

/* unlink(lock), by who means the file `mine`. */
#define UNLINK_LOCK(mine)                                                      \
	atomic {                                                               \
		assert(lock == mine || lock == 0);                             \
		lock = 0                                                       \
	}

#ifdef PUBLISHED

#define RELEASE(me)                                                            \
	if                                                                     \
	:: lock == me -> UNLINK_LOCK(me)                                       \
	:: else                                                                \
	fi

#define BREAK(me)                                                              \
	atomic {                                                               \
		mine = lock;                                                   \
		if                                                             \
		:: mine != 0 && mine != me && (dead[mine] || expired[mine])    \
		:: else -> mine = 0                                            \
		fi                                                             \
	}                                                                      \
	if                                                                     \
	:: mine != 0 -> UNLINK_LOCK(mine)                                      \
	:: else                                                                \
	fi

#else

/* With a right in its hands. */
#define MAY_DIE(me)                                                            \
	if                                                                     \
	:: mine != 0 -> dead[me] = true; goto end                              \
	:: skip                                                                \
	fi

#define RELEASE(me)                                                            \
	atomic { /* rename(claim, its other name) */                           \
		mine = 0;                                                      \
		if                                                             \
		:: name[me] == content[me] ->                                  \
			name[me] = NEXT(content[me]);                          \
			mine = me                                              \
		:: else                                                        \
		fi                                                             \
	}                                                                      \
	MAY_DIE(me);                                                           \
	if                                                                     \
	:: mine != 0 && lock == me -> UNLINK_LOCK(me)                          \
	:: else                                                                \
	fi

/* Looks; takes the right; looks whether it was refreshed, or is a later hold's;
 * removes the lock, then the right. */
#define BREAK(me)                                                              \
	atomic { /* open, fstat, read */                                       \
		mine = lock;                                                   \
		if                                                             \
		:: mine != 0 && mine != me && (dead[mine] || expired[mine]) -> \
			from = content[mine];                                  \
			seen = hold[mine];                                     \
			gone = dead[mine]                                      \
		:: else -> mine = 0                                            \
		fi                                                             \
	}                                                                      \
	if                                                                     \
	:: mine != 0 && name[mine] != from ->                                  \
		atomic { /* readdir: who has the right? */                     \
			from = name[mine];                                     \
			if                                                     \
			:: from == GONE || from == HELD_BY(me) -> mine = 0     \
			:: from < 100 && !dead[mine] -> mine = 0               \
			:: IS_RIGHT(from) && from != HELD_BY(me) ->            \
				if                                             \
				:: dead[from - 100] || STOLEN                  \
				:: else -> mine = 0                            \
				fi                                             \
			:: else                                                \
			fi                                                     \
		}                                                              \
	:: else                                                                \
	fi;                                                                    \
	atomic { /* rename(from, right) */                                     \
		if                                                             \
		:: mine != 0 && name[mine] == from -> name[mine] = HELD_BY(me) \
		:: else -> mine = 0                                            \
		fi                                                             \
	}                                                                      \
	MAY_DIE(me);                                                           \
	if                                                                     \
	:: mine != 0 && !gone && hold[mine] != seen ->                         \
		name[mine] = from; /* given back */                            \
		mine = 0                                                       \
	:: else                                                                \
	fi;                                                                    \
	if                                                                     \
	:: mine != 0 ->                                                        \
		if                                                             \
		:: lock == mine -> UNLINK_LOCK(mine)                           \
		:: else                                                        \
		fi;                                                            \
		atomic {                                                       \
			if                                                     \
			:: name[mine] == HELD_BY(me) -> name[mine] = GONE      \
			:: else                                                \
			fi                                                     \
		}                                                              \
	:: else                                                                \
	fi

#endif

proctype process(byte me)
{
	byte mine, from, seen, round;
	bool gone;

	do
	:: round == ROUNDS_OF(me) -> break
	:: round < ROUNDS_OF(me) ->
		round++;
		if
		:: lock != 0 ->
			BREAK(me)
		:: else
		fi;
		mine = 0;
		from = 0;
		seen = 0;
		gone = false;
		atomic { /* the claim, its content, its time */
			if
			:: name[me] == GONE -> name[me] = NEXT(content[me])
			:: else
			fi;
			if
			:: lock != me && name[me] < 100 ->
				content[me] = name[me];
				hold[me]++;
				expired[me] = false
			:: else
			fi
		}
		if
		:: atomic { /* link(claim, lock) */
			lock == 0 && name[me] == content[me] ->
			lock = me;
			inside++;
			assert(inside == 1)
		   }
		   if
		   :: inside--
		   :: atomic { inside--; expired[me] = true };
		      if
		      :: skip
		      :: atomic { hold[me]++; expired[me] = false }; /* a refresh */
			 if
			 :: atomic { name[me] == content[me] ->
				inside++;
				assert(inside == 1)
			    };
			    inside--
			 :: name[me] != content[me]
			 fi
		      fi
		   :: atomic { inside--; dead[me] = true; goto end }
		   fi;
		   RELEASE(me)
		:: else
		fi
	od;
end:
	skip
}

init
{
	atomic {
		byte i = 1;
		do
		:: i > PROCESSES -> break
		:: else -> run process(i); i++
		od
	}
}
