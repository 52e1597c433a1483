#!/usr/bin/env bash
# launch/supervise.sh with jobs that are shell scripts: what it restarts, when it stops, what it does with signals, and that
# nothing is left behind.
set -u
supervise=$(cd "$(dirname "$0")/../.." && pwd)/launch/supervise.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

# A job whose n-th life ends with the n-th of CODES, at the n-th of STEPS.
cat >"$folder/job" <<'EOF'
#!/usr/bin/env bash
# CODES STEPS --run DIR
read -ra codes <<<"$1"
read -ra steps <<<"$2"
run=$4
mkdir -p "$run/checkpoints"
life=$(cat "$run/lives" 2>/dev/null || echo 0)
echo $((life + 1)) >"$run/lives"
echo "{\"kind\":\"step\",\"step\":${steps[life]},\"loss\":1}" >>"$run/metrics.jsonl"
printf '{"kind":"step","step":9' >>"$run/metrics.jsonl"  # torn
((steps[life] < 5)) || echo "step_000000000$((steps[life] / 5 * 5))" >"$run/checkpoints/LATEST"
case ${codes[life]} in
  wait7?) trap "exit ${codes[life]#wait}" USR1; (trap '' USR1 TERM; sleep 97) & touch "$run/ready"; while :; do sleep 0.05; done ;;
  wait) trap '' USR1; trap 'exit 9' TERM; (trap '' TERM; sleep 97) & touch "$run/ready"; while :; do sleep 0.05; done ;;
  K) kill -KILL $$ ;;
  orphan)
    (trap '' TERM; exec sleep 97) &
    echo $! >"$run/orphan"
    kill -KILL $$
    ;;
  alone) ! grep -qs '^State:.[^Z]' "/proc/$(cat "$run/orphan")/status"; exit ;;
esac
exit "${codes[life]}"
EOF
chmod +x "$folder/job"

expect() {  # NAME, expected code, code, text it must say, what it said
  if [ "$2" != "$3" ] || ! grep -q -- "$4" <<<"$5"; then
    echo "FAILED: $1: code $3 (expected $2), said:"
    echo "$5"
    failed=1
  fi
}

# NAME, CODES, STEPS, expected code, text, options...
lives() {
  local name=$1 codes=$2 steps=$3 code=$4 text=$5 said
  shift 5
  said=$("$supervise" --pause 0 "$@" -- "$folder/job" "$codes" "$steps" --run "$folder/$name" 2>&1)
  expect "$name" "$code" $? "$text" "$said"
}

lives "done" "0" "7" 0 "done at step 7, restarts 0"
lives restarts "76 K 139 255 0" "3 7 8 9 9" 0 "done at step 9, restarts 4"
lives from_start "76 0" "3 9" 0 "ended with 76 (a peer was lost) at step 3: restart 1, from the beginning (no checkpoint yet)"
lives from_checkpoint "K 0" "8 9" 0 "ended with 137 (signal 9) at step 8: restart 1, from step_0000000005"
for code in 1 2 77; do lives "not$code" "76 $code 0" "3 7 9" $code "ended with $code at step 7, restarts 1: not to be restarted"; done
lives orphan "orphan alone" "3 9" 0 "done at step 9, restarts 1"
lives saved "75 0" "3 9" 75 "stopped after saving (75) at step 3"
lives same_step "76 K 76 0" "3 3 3 9" 76 "at step 3, 3 times in a row, restarts 2: not to be restarted"
lives on_and_on "76 76 76 76 0" "3 3 4 4 9" 0 "done at step 9, restarts 4"
lives two_deaths "76 76 0" "3 3 9" 76 "2 times in a row" --deaths 2
lives too_many "76 76 76 0" "1 2 3 9" 76 "no more than 2 an hour" --restarts 2

said=$("$supervise" -- "$folder/no such program" --run "$folder/none" 2>&1)
expect "no program" 127 $? "ended with 127" "$said"
said=$("$supervise" -- "$folder/job" "0" "1" 2>&1)
expect "no run" 2 $? "has no --run DIR" "$said"
said=$("$supervise" --restart 3 -- "$folder/job" 2>&1)
expect "unknown option" 2 $? "unknown argument '--restart'" "$said"
said=$("$supervise" --restarts many -- "$folder/job" 2>&1)
expect "no number" 2 $? "needs a number" "$said"

# NAME, KIND of job, expected code, text, signals: each is sent once the one before is said to have come.
signals() {
  local name=$1 kind=$2 expected=$3 text=$4 signal supervisor code
  shift 4
  # What bash starts in the background ignores INT.
  env --default-signal=INT "$supervise" -- "$folder/job" "$kind" "7" --run "$folder/$name" >"$folder/said" 2>&1 &
  supervisor=$!
  until [ -e "$folder/$name/ready" ]; do sleep 0.02; done
  for signal in "$@"; do
    kill -"$signal" "$supervisor"
    until grep -q "SIG$signal" "$folder/said" || ! kill -0 "$supervisor" 2>/dev/null; do sleep 0.02; done
  done
  wait "$supervisor"
  code=$?
  expect "$name" "$expected" $code "$text" "$(cat "$folder/said")"
  if grep -lz -- "^$folder/$name\$" /proc/[0-9]*/cmdline 2>/dev/null; then echo "FAILED: $name: the job goes on"; failed=1; fi
}

signals usr1 wait75 75 "stopped after saving (75) at step 7" USR1
signals interrupt wait75 75 "SIGINT: save and stop" INT
signals hangup wait75 75 "stopped after saving" HUP
signals lost wait76 75 "ended with 76 (a peer was lost) at step 7 before it could save" USR1
signals term wait 143 "ended by SIGTERM at step 7" TERM
signals twice wait 138 "ended by SIGUSR1 at step 7" USR1 USR1
signals usr1_then_term wait 143 "ended by SIGTERM" USR1 TERM

((failed)) || echo "supervise: all as expected"
exit $failed
