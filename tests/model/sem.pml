/*
 * Locks of sem:, for spin(1): is the unit of a semaphore ever had twice, or lost,
 * whoever dies wherever?
 *
 * Two words, as in lib/store-sem.c: the semaphore's, of a value and a mark, and the
 * turn, of a number, a seat and a state.  Each step is one atomic instruction, or
 * one look at the lock of a seat.  Beside the processes of relock there is one that
 * waits and posts as any program does; it does not die, since what it had then
 * nobody could know.  Nobody posts over a holder's head here.
 *
 * With TWO_STEPS, the unit is taken and marked by two instructions: it can be lost.
 * With PLAIN, a holder begins its release without looking whether its hold was
 * broken: the unit is given back twice.  Spin has to find both.
 */
#define PROCESSES 3
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define OTHERS_ROUNDS 1

#define CANDIDATE 1
#define HOLDS     2
#define RELEASING 3

byte value = 1;
bool mark;
byte turn_number, turn_seat, turn_state;

bool inside[PROCESSES + 1]; /* granted, not broken, not being given back */
bool other_inside;
bool gone[PROCESSES + 1];        /* the kernel has taken its seat's lock away */
byte recovers[PROCESSES + 1];    /* who has locked that seat; 0: nobody */
byte left = PROCESSES + 1;       /* that still run */

inline look()
{
	assert(value + inside[1] + inside[2] + inside[3] + other_inside <= 1)
}

/* compare-and-exchange of the turn from what was seen to our own. */
#define SUCCEED(done)                                                          \
	atomic {                                                               \
		if                                                             \
		:: turn_number == number && turn_seat == seat &&               \
		   turn_state == state ->                                      \
			inside[turn_seat] = false; /* broken, or nobody's */   \
			turn_number++;                                         \
			turn_seat = me;                                        \
			turn_state = CANDIDATE;                                \
			done = true                                            \
		:: else -> done = false                                        \
		fi                                                             \
	}

#define SEE_TURN                                                               \
	atomic {                                                               \
		number = turn_number;                                          \
		seat = turn_seat;                                              \
		state = turn_state                                             \
	}

#define MAY_DIE                                                                \
	if                                                                     \
	:: atomic {                                                            \
		gone[me] = true;                                               \
		inside[me] = false;                                            \
		recovers[1] = (recovers[1] == me -> 0 : recovers[1]);          \
		recovers[2] = (recovers[2] == me -> 0 : recovers[2]);          \
		recovers[3] = (recovers[3] == me -> 0 : recovers[3])           \
	   };                                                                  \
	   goto end                                                            \
	:: skip                                                                \
	fi

/* Of a seat that nobody has any more: its lock, then the turn once more. */
#define RECOVER(done)                                                          \
	done = false;                                                          \
	dead = seat;                                                           \
	if                                                                     \
	:: atomic {                                                            \
		gone[dead] && recovers[dead] == 0 -> recovers[dead] = me       \
	   };                                                                  \
	   MAY_DIE;                                                            \
	   SEE_TURN;                                                           \
	   if                                                                  \
	   :: seat == dead -> SUCCEED(done)                                    \
	   :: else                                                             \
	   fi;                                                                 \
	   MAY_DIE;                                                            \
	   recovers[dead] = 0                                                  \
	:: !gone[dead] || recovers[dead] != 0                                  \
	fi

#define TAKE_TURN(done)                                                        \
	SEE_TURN;                                                              \
	if                                                                     \
	:: seat == 0 -> SUCCEED(done)                                          \
	:: else -> RECOVER(done)                                               \
	fi

#define SEE_WORD                                                               \
	atomic {                                                               \
		seen = value;                                                  \
		marked = mark                                                  \
	}

/* With the turn; what it says in the end is whether there is a unit for us. */
#define TAKE_UNIT(done)                                                        \
	done = false;                                                          \
	SEE_WORD;                                                              \
	if                                                                     \
	:: marked -> done = true /* left to us */                              \
	:: !marked && seen == 0                                                \
	:: !marked && seen > 0 ->                                              \
		MAY_DIE;                                                       \
		TAKE_AND_MARK(done)                                            \
	fi

#ifdef TWO_STEPS
#define TAKE_AND_MARK(done)                                                    \
	atomic {                                                               \
		if                                                             \
		:: value == seen && !mark -> value = 0; done = true            \
		:: else                                                        \
		fi                                                             \
	};                                                                     \
	if                                                                     \
	:: done ->                                                             \
		MAY_DIE;                                                       \
		mark = true                                                    \
	:: else                                                                \
	fi
#else
#define TAKE_AND_MARK(done)                                                    \
	atomic {                                                               \
		if                                                             \
		:: value == seen && !mark ->                                   \
			value = 0;                                             \
			mark = true;                                           \
			done = true                                            \
		:: else                                                        \
		fi                                                             \
	}
#endif

#define GIVE_UNIT                                                              \
	atomic {                                                               \
		if                                                             \
		:: mark ->                                                     \
			mark = false;                                          \
			value++;                                               \
			look()                                                 \
		:: else                                                        \
		fi                                                             \
	}

#define END_TURN                                                               \
	atomic {                                                               \
		turn_seat = 0;                                                 \
		turn_state = 0                                                 \
	}

/* From HOLDS, or it was broken. */
#ifdef PLAIN
#define BEGIN_RELEASE(done)                                                    \
	atomic {                                                               \
		inside[me] = false;                                            \
		turn_seat = me;                                                \
		turn_state = RELEASING;                                        \
		done = true                                                    \
	}
#else
#define BEGIN_RELEASE(done)                                                    \
	atomic {                                                               \
		inside[me] = false;                                            \
		if                                                             \
		:: turn_number == mine && turn_seat == me &&                   \
		   turn_state == HOLDS ->                                      \
			turn_state = RELEASING;                                \
			done = true                                            \
		:: else -> done = false                                        \
		fi                                                             \
	}
#endif

/* By force. */
#define BREAK(done)                                                            \
	SEE_TURN;                                                              \
	done = false;                                                          \
	if                                                                     \
	:: !mark /* nobody of relock's has the unit */                         \
	:: else ->                                                             \
		if                                                             \
		:: seat == 0 || state == HOLDS -> SUCCEED(done)                \
		:: else -> RECOVER(done)                                       \
		fi                                                             \
	fi;                                                                    \
	if                                                                     \
	:: done ->                                                             \
		MAY_DIE;                                                       \
		GIVE_UNIT;                                                     \
		MAY_DIE;                                                       \
		END_TURN                                                       \
	:: else                                                                \
	fi

proctype process(byte me)
{
	byte round, number, seat, state, mine, seen, dead;
	bool marked, done;

	do
	:: round == ROUNDS -> break
	:: round < ROUNDS ->
		round++;
		if
		:: BREAK(done)
		:: skip
		fi;
		TAKE_TURN(done);
		if
		:: done ->
			mine = turn_number;
			MAY_DIE;
			TAKE_UNIT(done);
			MAY_DIE;
			if
			:: done ->
				atomic { /* text and record are written before */
					turn_state = HOLDS;
					inside[me] = true;
					look()
				};
				MAY_DIE;
				BEGIN_RELEASE(done);
				if
				:: done ->
					MAY_DIE;
					GIVE_UNIT;
					MAY_DIE;
					END_TURN
				:: else
				fi
			:: else ->
				END_TURN /* waited for long enough */
			fi
		:: else
		fi;
		atomic {
			number = 0; seat = 0; state = 0; mine = 0;
			seen = 0; dead = 0; marked = false; done = false
		}
	od;
	atomic {
		gone[me] = true; /* it closes its handle */
		if
		:: turn_seat == me -> assert(false)
		:: else
		fi
	};
end:
	left--
}

/* sem_wait(3), sem_post(3) */
proctype other()
{
	byte round;

	do
	:: round == OTHERS_ROUNDS -> break
	:: round < OTHERS_ROUNDS ->
		round++;
		if
		:: atomic {
			value > 0 ->
			value--;
			other_inside = true;
			look()
		   };
		   atomic {
			other_inside = false;
			value++;
			look()
		   }
		:: skip
		fi
	od;
	left--
}

/* In the end the unit is there, or with the mark for who comes next. */
proctype last_look()
{
	left == 0 -> assert(value + mark == 1)
}

init
{
	atomic {
		run process(1);
		run process(2);
		run process(3);
		run other();
		run last_look()
	}
}
