import sys, time, tempfile, os
sys.path[:0]=["/work/main/tests","/work/main/tests/weighting"]
os.environ["EMBEDMERGE_CACHE"]=tempfile.mkdtemp()
import numpy as np, pytest
from pathlib import Path
from surveyed import *
from embedmerge.weighting.frank_wolfe import FrankWolfe
from embedmerge.weighting.greedy import Greedy
from embedmerge.weighting.metric import Metric
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard
np.set_printoptions(precision=4, suppress=True)

def test_try(base, make_expert, tmp_path, general_collection):
    one = make_expert("one", base=base, seed=1, scale=0.1)
    two = make_expert("two", base=base, seed=2, scale=0.1)
    ex = write_examples_for(one, tmp_path/"a.jsonl", 40)
    ex2 = write_examples_for(two, tmp_path/"b.jsonl", 20, seed=9)
    both = tmp_path/"c.jsonl"; both.write_text(ex.read_text()+ex2.read_text())
    n1 = make_expert("n1", base=base, seed=3, scale=0.5)
    n2 = make_expert("n2", base=base, seed=4, scale=0.5)
    text = write_guard_text(tmp_path/"g.txt")
    for guard in (Guard(text=str(text), budget=10.), Guard(text=str(text), budget=0.5),Guard(text=str(text), budget=0.1), Guard(text=str(text), budget=0.03), Guard(tasks=(f"{general_collection}:dev",)), Guard(tasks=(f"{general_collection}:dev",),floor=3)):
      for obj in ("loss","ndcg_at_10"):
        kw = dict(examples=str(both), guard=guard, objective=obj)
        fw = FrankWolfe(**kw)
        t=time.time(); s = survey_of(fw, base, one, two, n1, n2); j = judge_of(s)
        print("\n", guard.described_floor, obj, "live", s.live, "survey s", round(time.time()-t,2))
        q = j.quality(s.corners); print(" corners", q.target.means, q.general.means, j.above_floor(q))
        for st in (fw, Front(**kw), Greedy(**kw), Metric(**kw)):
            t=time.time(); w = st.pick(j); e=time.time()-t
            q = j.quality(w[None]); l=j.restricted(s.landscape.quality(w[None],"loss"))
            print(f" {st.strategy:12s}", w, "target %.4f general %.4f loss %.4f"%(q.target.means[0], q.general.means[0], l.target.means[0]), j.above_floor(q), "s %.2f"%e)
        v = fw.visited(j); b=v[j.best(v)]; print("  visited", len(v), "unpruned", b, j.quality(b[None]).target.means)
